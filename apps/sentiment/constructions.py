"""Short sentences in which a construction keeps or turns the feeling of its words: "far from dull", "no regrets".

Reviews and phrases of films hold few of these, so a network learns from them what a word feels like, and not what
"neither … nor" makes of two. Here the words are ordinary and the constructions few, so what is to be learned is what
they do. They are made by a rule and are no sample of what people write: models learn from them, nothing is tested on
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

COUNT, MOST = 12_000, 100_000  # sentences that are made

KINDS = {  # of words: those that feel good, those that feel bad
    "adjective": (
        """accurate amazing brilliant charming clean comfortable convincing cosy crisp delicious delightful durable
        elegant engaging enjoyable entertaining excellent exciting fascinating fast fresh friendly generous gripping
        helpful hilarious honest impressive ingenious inspiring interesting inventive likeable lively lovely magical
        marvellous memorable moving nice original outstanding pleasant polite practical precise quick quiet
        refreshing reliable rewarding robust satisfying sharp smart smooth solid splendid spotless sturdy stunning
        stylish superb sweet tasty tender terrific thoughtful thrilling touching uplifting useful warm welcoming
        wise witty wonderful worthwhile""",
        """annoying awful awkward bland broken bumpy careless cheap clumsy cold confusing cruel dated depressing
        dirty dreadful dreary dull exhausting fake filthy flat flimsy forgettable greasy horrible incoherent
        insulting irritating lame lazy lifeless messy misleading monotonous noisy offensive overcooked overpriced
        painful pathetic pointless poor predictable pretentious ridiculous rude rushed sad salty sentimental shallow
        shoddy sloppy sluggish soggy stale sticky stupid tasteless tedious terrible tiresome tiring trivial
        unbearable uncomfortable unfair unfriendly unpleasant unreliable useless vague vulgar wobbly wooden
        worthless wrong""",
    ),
    "comparative": (
        "cleaner easier faster fresher friendlier funnier kinder livelier nicer richer sharper smarter tastier "
        "tighter warmer wittier",
        "clumsier colder dirtier drearier duller lazier louder noisier poorer ruder sadder shallower sillier slower "
        "uglier weaker",
    ),
    "noun": (
        "achievement bargain blessing breakthrough delight favourite gem highlight improvement joy marvel pleasure "
        "revelation success treat triumph winner",
        "bore catastrophe chore disappointment disaster dud embarrassment failure farce fiasco flop headache insult "
        "joke letdown mess mistake nightmare",
    ),
    "having": (  # what it feels good, or bad, that there is
        "charm comfort depth energy flavour heart humour imagination originality rhythm spirit style talent taste "
        "tension warmth wit",
        "bugs delays disappointments doubts errors faults flaws leaks mistakes objections problems quarrels regrets "
        "scratches weaknesses worries",
    ),
    "doing": (
        "admire,be proud of,enjoy,laugh about,like,look forward to,praise,recommend,remember,savour",
        "be sorry about,criticise,dislike,dread,grumble about,hate,loathe,moan about,object to,quarrel with,regret",
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
SHARES = {"adjective": 50, "comparative": 14, "noun": 12, "having": 12, "doing": 12}  # in a hundred


def constructed(count: int = COUNT, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """(N sentences, labels (N,): 1 for those that feel good), N = count, no two alike, the same at every call

    Raises ValueError for a count that is not from 1 to MOST.
    """
    if not 1 <= count <= MOST:
        raise ValueError(f"count is a whole number from 1 to {MOST:,}, not {count}")
    rng = np.random.default_rng(seed)

    def one(of: Sequence[str]) -> str:
        return of[int(rng.integers(len(of)))]

    words = {kind: [_listed(each) for each in both] for kind, both in KINDS.items()}
    frames = {kind: (_frames(KEPT[kind]), _frames(TURNED[kind])) for kind in KINDS}
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    labels: dict[str, int] = {}
    while len(labels) < count:
        kind, good, turned = one(kinds), int(rng.integers(2)), int(rng.integers(2))
        mine, others = words[kind][1 - good], words[kind][good]
        first, second = one(mine), one(mine)
        if first != second:
            sentence = one(frames[kind][turned]).format(first, second, other=one(others), thing=one(_THINGS))
            labels.setdefault(re.sub(r"\ba (?=[aeiou])", "an ", sentence), good ^ turned)
    return list(labels), np.array(list(labels.values()), np.int64)


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")] if "," in words else words.split()


def _frames(lines: str) -> list[str]:
    return [frame.strip() for line in lines.strip().splitlines() for frame in line.split("|")]


_THINGS = _listed(
    "bite chapter day dish episode idea joke lecture level line meal minute moment page room scene shot song track word"
)
