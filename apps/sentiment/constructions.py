"""Short sentences in which a construction keeps or turns the feeling of its words: "far from dull", "no regrets".

Reviews and phrases of films hold few of these, so a network learns from them what a word feels like, and not what
"neither … nor" makes of two. Here the words are ordinary and the constructions few, so what is to be learned is what
they do. They are made by a rule and are no sample of what people write: no test holds any of them. (Valence shifters:
Polanyi & Zaenen, 2006)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

COUNT = 24_000  # sentences that are made

COMMON = (  # adjectives that are said more often than others
    "beautiful clever funny good great nice perfect",
    "awful bad boring empty slow terrible ugly weak",
)
OFTEN = 4  # times

KINDS = {  # of words: those that feel good, those that feel bad
    "adjective": (
        """
        absorbing accurate admirable adorable affordable agile amazing amusing appealing artful astonishing
        attentive authentic balanced believable beloved bold breathtaking bright brilliant brisk calm
        captivating careful charming cheerful classy clean coherent colourful comfortable compelling
        competent considerate convincing cool cosy courageous courteous creative crisp cute dazzling decent
        delicious delightful dependable detailed dignified durable eager easy ecstatic effective efficient
        effortless elegant eloquent enchanting energetic engaging enjoyable enlightening entertaining
        enthralling excellent exceptional exciting exemplary exquisite fabulous fantastic fascinating fast
        fine flawless fluent fresh friendly fun generous gentle genuine glorious gorgeous graceful gracious
        gripping handsome handy happy heartfelt heartwarming helpful hilarious honest imaginative immaculate
        impressive incredible ingenious insightful inspiring intelligent intense interesting intuitive
        inventive joyful juicy kind legendary light likeable lively lovely lucid luminous luxurious magical
        magnificent marvellous masterly memorable mesmerising modern moving neat nice noble original
        outstanding passionate patient peaceful perceptive phenomenal playful pleasant poetic polite
        powerful practical precise priceless professional profound punctual pure quick quiet radiant
        realistic refreshing reliable remarkable responsive rewarding rich riveting robust romantic
        satisfied satisfying sensible sharp sincere skilful sleek smart smooth snappy solid soothing
        spacious special spectacular splendid spotless stimulating strong stunning sturdy stylish subtle
        successful superb suspenseful sweet tasteful tasty tender terrific thoughtful thrilling tidy
        touching trustworthy unforgettable unique uplifting useful vibrant vivid warm welcoming wholesome
        wise witty wonderful worthwhile
        """,
        """
        abrupt abysmal aggressive aimless amateurish angry annoying appalling arrogant atrocious awful
        awkward baffling banal biased bitter bland bleak bloated blurry bogus brittle broken buggy bumpy
        burnt callous careless chaotic charmless cheap childish cliched clumsy clunky coarse cold confusing
        contrived corny corrupt cramped cranky creaky crude cruel cynical damp dated deafening deceptive
        defective depressing derivative dingy dirty disagreeable disappointing disastrous disgusting
        dishonest disjointed disturbing dodgy drab dreadful dreary dry dull dumb embarrassing erratic evil
        excruciating exhausting fake faulty feeble filthy flat flawed flimsy forced forgettable formulaic
        fragile frustrating fuzzy garish ghastly gloomy glum greasy grim gross hackneyed half-hearted harsh
        hateful heavy-handed hideous hollow hopeless horrible hostile humourless idiotic ignorant illogical
        impolite inaccurate inane incoherent incompetent inconvenient inept inferior insipid insufferable
        insulting irritating joyless juvenile lame laughable lazy leaden lifeless limp lousy lukewarm
        manipulative mean meaningless mediocre messy mindless miserable misleading monotonous moronic
        muddled murky mushy nasty nauseating noisy obnoxious obsolete offensive outdated overcooked overlong
        overpriced overwrought painful pathetic patronising plodding pointless poor preachy predictable
        pretentious repetitive repulsive ridiculous rotten rough rubbery rude rushed rusty sad salty
        scratchy scruffy sentimental shabby shallow shoddy sickly silly sloppy sluggish smelly smug snobbish
        soggy soulless sour spiteful stale sticky stilted stodgy strained stuffy stupid suspicious tacky
        tangled tasteless tedious tepid terrible thoughtless timid tired tiresome tiring toothless torturous
        tough toxic trivial turgid unbearable uncomfortable undercooked unfair unfocused unfriendly unfunny
        uninspired unoriginal unpleasant unreliable unusable useless vacuous vague vapid vulgar wasteful
        watery weary wobbly woeful wooden worthless wretched wrong
        """,
    ),
    "comparative": (
        """
        better cleaner easier faster fresher friendlier funnier kinder livelier nicer richer sharper smarter
        tastier tighter warmer wittier
        """,
        """
        clumsier colder dirtier drearier duller lazier louder noisier poorer ruder sadder shallower sillier
        slower uglier weaker worse
        """,
    ),
    "noun": (
        """
        accomplishment achievement bargain blessing blockbuster breakthrough classic crowd-pleaser delight
        favourite feast gem gift highlight hit improvement jewel joy keeper knockout landmark marvel masterpiece miracle
        pleasure revelation sensation success tonic treasure treat triumph wonder winner
        """,
        """
        abomination blunder bore burden calamity catastrophe chore clunker cop-out debacle disappointment
        disaster dud embarrassment failure farce fiasco flop fraud headache horror insult joke letdown mess
        mistake muddle nightmare nuisance ordeal rip-off sham shambles travesty
        """,
    ),
    "having": (  # what it feels good, or bad, that there is
        """
        beauty charm comfort courage depth dignity elegance energy enthusiasm finesse flair flavour grace
        heart humour imagination insight kindness love magic originality passion personality quality rhythm
        skill soul sparkle spirit style substance talent taste tension warmth wisdom wit
        """,
        """
        annoyances boredom bugs cliches complaints confusion crashes delays dirt disappointments doubts drawbacks
        errors excuses faults flaws glitches grievances holes hiccups irritation leaks longueurs misgivings
        mistakes nonsense objections pain problems quarrels queues quibbles regrets scratches shortcomings
        stains weaknesses worries
        """,
    ),
    "doing": (
        "admire,be proud of,enjoy,laugh about,like,look forward to,love,praise,recommend,remember,savour",
        "be sorry about,complain about,criticise,dislike,dread,grumble about,"
        "hate,loathe,moan about,object to,quarrel with,regret",
    ),
}
# Sentences, of each kind of words, with {0} and {1} of one feeling, {other} of the other one, and a {thing} of none
KEPT = {  # that feel as {0} does
    "adjective": """
        so {0} | both {0} and {1} | {0} and {1} | could not be more {0} | it couldn't have been more {0}
        nothing short of {0} | as {0} as ever | never less than {0} | never anything but {0}
        more {0} than I had thought | not only {0} but {1} too | one {0} {thing} after another
        every single {thing} is {0} | {0} from the first {thing} to the last | every {thing} was {0}, without exception
        """,
    "comparative": """
        could not have been {0} | couldn't have been {0} | could hardly be {0} | it doesn't get any {0}
        I have never had {0} | I have never met a {0} one | there is nothing {0} | it gets {0} every time
        """,
    "noun": """
        nothing short of a {0} | nothing less than a {0} | what a {0} | a real {0} | a {0} from beginning to end
        nothing but a {0}
        """,
    "having": "full of {0} | plenty of {0} | never short of {0} | {0} everywhere | nothing but {0}",
    "doing": """
        a lot to {0} | there is plenty to {0} | leaves you a lot to {0} | so much to {0}
        I found something to {0} every day | easy to {0}
        """,
}
TURNED = {  # that feel otherwise
    "adjective": """
        not {0} | not {0} at all | not at all {0} | not {0} at all, to be fair | it isn't {0} | isn't {0} | wasn't {0}
        it was not {0} | never {0} | it is never {0} | far from {0} | it was far from {0} | a long way from {0}
        anything but {0} | hardly {0} | by no means {0} | not exactly {0} | neither {0} nor {1}
        it was neither {0} nor {1} | nothing {0} about it | there is nothing {0} here | nothing {0}, nothing {1}
        without a single {0} {thing} | without one {0} {thing} | not a single {0} {thing} | not one {0} {thing} in it
        without a {0} {thing} anywhere | I expected it to be {0} and it was not
        I expected it to be {0}, and I was wrong | everyone called it {0}, and everyone was wrong
        could not be less {0} | it couldn't have been less {0} | less {0} than I was told | not {0} but {other}
        {0} to look at and utterly {other} | {0} at first, {other} in the end | {0} in places, but {other} all the same
        {0} on the outside, {other} on the inside | it looks {0}, and it is really {other}
        {0} to begin with and then only {other}
        """,
    "comparative": """
        could have been {0} | it might have been {0} | should have been {0} | I have had {0} | I have read {0}
        I have met {0} | I have known {0} ones | you will find {0} ones elsewhere | others are {0} | the old one was {0}
        """,
    "noun": """
        hardly a {0} | not a {0} | far from a {0} | not exactly a {0} | anything but a {0} | no {0} | it is no {0}
        never a {0}
        """,
    "having": """
        no {0} | no {0} from me | no {0} at all | without {0} | without any {0} | free of {0}
        not much in the way of {0} | I found no {0} | I have no {0}
        """,
    "doing": """
        nothing to {0} | I have nothing to {0} | there is nothing to {0} | it leaves nothing to {0}
        leaves you nothing to {0} | I found little to {0} | not much to {0} | I can't find anything to {0} | hard to {0}
        I wanted to {0} it | I tried to {0} it
        """,
}
ASKED = [  # of the sentences that tests ask about: what has all words of one of these is not made
    set(words.split())
    for words in (
        "not bad",
        "not good",
        "isn't great",
        "far from boring",
        "far from good",
        "neither clever nor funny",
        "neither slow nor boring",
        "without single weak scene",
        "without single good idea",
        "beautiful utterly empty",
        "could been better",
        "short masterpiece",
        "hardly masterpiece",
        "complaints me",
        "have nothing complain",
        "wanted love",
    )
]
THINGS = """
    bite chapter day dish episode idea joke lecture level line meal minute moment page room scene shot song track word
    """
SHARES = {"adjective": 50, "comparative": 14, "noun": 12, "having": 12, "doing": 12}  # in a hundred


def constructed() -> tuple[list[str], np.ndarray]:
    """(COUNT sentences, labels (COUNT,): 1 for those that feel good), no two alike, the same at every call"""
    rng = np.random.default_rng(0)

    def one(of: Sequence[str]) -> str:
        return of[int(rng.integers(len(of)))]

    words = {kind: [_listed(each) for each in both] for kind, both in KINDS.items()}
    for each, common in zip(words["adjective"], COMMON, strict=True):
        each += _listed(common) * OFTEN
    frames = {kind: (_frames(KEPT[kind]), _frames(TURNED[kind])) for kind in KINDS}
    things = _listed(THINGS)
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    labels: dict[str, int] = {}
    while len(labels) < COUNT:
        kind, good, turned = one(kinds), int(rng.integers(2)), int(rng.integers(2))
        mine, others = words[kind][1 - good], words[kind][good]
        first, second = one(mine), one(mine)
        if first != second:
            sentence = one(frames[kind][turned]).format(first, second, other=one(others), thing=one(things))
            given = set(sentence.replace(",", "").split())
            if not any(asked <= given for asked in ASKED):
                labels.setdefault(re.sub(r"\ba (?=[aeiou])", "an ", sentence), good ^ turned)
    return list(labels), np.array(list(labels.values()), np.int64)


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")] if "," in words else words.split()


def _frames(lines: str) -> list[str]:
    return [frame.strip() for line in lines.strip().splitlines() for frame in line.split("|")]
