"""Labelled texts: the sample and what it promises, corpora in folders, and a CSV of the user's with all its faults."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from apps.errors import InputError
from apps.sentiment.constructions import constructed
from apps.sentiment.data import SAMPLE, Texts, endings, load, load_csv, load_unlabelled, phrase_groups, read_csv
from apps.source import load_split
from apps.training import hold_out

datasets = pytest.importorskip("datasets")

HARD = Path(__file__).parent / "hard_sentences.tsv"


# The sample


def words_of(sentence):
    return set(re.findall(r"[\w']+", sentence.lower()))


def test_the_sample_is_large_balanced_and_in_a_file_that_can_be_read():
    labels, sentences = read_csv(SAMPLE, "label"), read_csv(SAMPLE, "sentence")
    assert len(sentences) >= 1200
    assert labels.count("positive") == labels.count("negative") == len(labels) / 2
    counts = [len(sentence.split()) for sentence in sentences]
    assert min(counts) >= 3
    assert 30 <= max(counts) <= 40
    assert SAMPLE.read_text("utf-8").count("\n") == len(sentences) + 1


def test_no_two_sentences_of_the_sample_share_more_than_half_their_words():
    sets = [words_of(sentence) for sentence in read_csv(SAMPLE, "sentence")]
    column = {word: i for i, word in enumerate(sorted(set().union(*sets)))}
    has = np.zeros((len(sets), len(column)), np.float32)
    for i, words in enumerate(sets):
        has[i, [column[word] for word in words]] = 1
    size = has.sum(axis=1)
    share = has @ has.T / np.minimum.outer(size, size)
    np.fill_diagonal(share, 0)
    assert share.max() <= 0.5, [read_csv(SAMPLE, "sentence")[i] for i in np.argwhere(share > 0.5)[0]]


def test_the_hard_sentences_are_sixty_and_not_in_the_sample():
    hard, labels = read_csv(HARD, "sentence"), read_csv(HARD, "label")
    assert len({sentence.lower() for sentence in hard}) == 60
    assert labels.count("positive") == 30
    ours = {" ".join(sorted(words_of(sentence))) for sentence in read_csv(SAMPLE, "sentence")}
    assert not ours & {" ".join(sorted(words_of(sentence))) for sentence in hard}


def test_constructions_are_made_the_same_every_time_and_none_is_a_hard_sentence():
    (sentences, t), (again, _) = constructed(), constructed()
    assert sentences == again
    assert len(set(sentences)) == len(t) == 24_000
    assert abs(t.mean() - 0.5) < 0.02
    assert not any("{" in sentence or "}" in sentence for sentence in sentences)
    hard = [words_of(sentence) for sentence in read_csv(HARD, "sentence")]
    made = [words_of(sentence) for sentence in sentences]
    assert not any(words <= each for words in hard for each in made)
    told = dict(zip(sentences, t.tolist(), strict=True))
    expected = {"no flaws": 1, "what a mess": 0, "free of charm": 0, "could not have been louder": 0, "no bore": 1}
    expected |= {"a lot to praise": 1, "nothing to regret": 1, "full of wit": 1, "wasn't bad": 1, "others are worse": 1}
    assert {sentence: told[sentence] for sentence in expected} == expected


def test_constructions_are_learned_from_beside_others_and_are_not_in_the_sample(hub):
    made = {*constructed()[0]}
    assert made <= {*load(str(hub), "broad").train.x}
    assert not made & {*load(str(hub), "films").train.x}
    assert not made & {*read_csv(SAMPLE, "sentence")}


def test_the_sample_is_divided_the_same_way_every_time():
    data, again = load("sample"), load("sample", "sst2")
    assert data.fingerprint == again.fingerprint
    assert data.labels == ("negative", "positive")
    assert "sample" in data.name
    assert np.bincount(data.test.t).tolist() == [819, 819]
    assert len(data.train) == 8192 - 1638
    assert not {*data.train.x} & {*data.test.x}


# Corpora


def put(root, repository, columns, **splits):
    """A data set in a folder laid out as the hub."""
    folder = root / repository
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        datasets.Dataset.from_dict({name: [row[i] for row in rows] for i, name in enumerate(columns)}).to_parquet(
            folder / f"{split}.parquet"
        )


@pytest.fixture
def hub(tmp_path):
    texts = [("Good<br />film", 1), ("bad film", 0), ("fine", 1)]
    put(tmp_path, "stanfordnlp/imdb", ("text", "label"), train=texts, test=texts[:2])
    put(tmp_path, "stanfordnlp/sst2", ("sentence", "label"), train=texts, validation=texts[1:], test=[("x", -1)])
    put(tmp_path, "cornell-movie-review-data/rotten_tomatoes", ("text", "label"), train=texts[:2], test=texts)
    return tmp_path


def test_each_corpus_is_read_with_the_split_it_is_tested_on(hub):
    imdb, sst2, films = (load(str(hub), name) for name in ("imdb", "sst2", "films"))
    assert imdb.train.x[0] == "Good<br />film"
    assert (imdb.split, sst2.split, films.split) == ("test", "validation", "test")
    assert len(films.train) == 3 + 3 + 2
    assert films.test.x == imdb.test.x
    assert films.name == "stanfordnlp/imdb + stanfordnlp/sst2 + cornell-movie-review-data/rotten_tomatoes"
    assert len({data.fingerprint for data in (imdb, sst2, films)}) == 3


def test_what_is_no_corpus_is_refused(tmp_path, hub):
    with pytest.raises(InputError, match="no data set 'mnist': give one of imdb"):
        load(str(hub), "mnist")
    put(tmp_path / "a", "stanfordnlp/imdb", ("words", "label"), train=[("x", 1)], test=[("x", 1)])
    with pytest.raises(InputError, match="needs the column text"):
        load(str(tmp_path / "a"))
    put(tmp_path / "b", "stanfordnlp/imdb", ("text", "label"), train=[("x", 7)], test=[("x", 1)])
    with pytest.raises(InputError, match="are not 0 and 1"):
        load(str(tmp_path / "b"))
    with pytest.raises(InputError, match="no unlabelled texts"):
        load_unlabelled("sample")


def test_the_parts_of_a_sentence_are_held_out_with_it(hub):
    texts = [
        "good",
        "a very good film",
        "very good",
        "It is bad",
        "it is",
        "film",
        "a good film",
        "word " * 100,
        "word",
    ]
    groups = phrase_groups(texts)
    assert groups.tolist() == [1, 1, 1, 3, 3, 1, 6, 7, 8]
    assert load(str(hub), "imdb").groups is None
    data = load(str(hub), "films")
    assert len(data.groups) == len(data.train)
    for fraction in (0.2, 0.5):
        learn, held = hold_out(data.train, fraction, data.groups)
        assert not {*phrase_groups([*learn.x, *held.x])[: len(learn)]} & {
            *phrase_groups([*learn.x, *held.x])[len(learn) :]
        }


def test_the_ending_of_a_review_is_held_out_with_it(hub):
    reviews = ["Dull.<br /><br />I left early. Save your money!", "One sentence alone", "It began. " + "word " * 50, ""]
    rows, ended = endings(Texts(reviews, np.array([0, 1, 1, 0])))
    assert rows.tolist() == [0, 1]
    assert ended.x == ["Save your money!", "One sentence alone"]
    assert ended.t.tolist() == [0, 1]
    data = load(str(hub), "broad")
    assert data.name.endswith("+ sample")
    assert len(data.groups) == len(data.train)
    assert data.train.x[-2:] == ["Good film", "bad film"]  # "fine" is one word
    assert data.groups[-2:].tolist() == data.groups[:2].tolist()


@pytest.mark.parametrize("dataset", ["imdb", "films", "broad"])
def test_only_what_is_tested_on_is_read_for_an_evaluation(hub, monkeypatch, dataset):
    whole, splits = load(str(hub), dataset), []
    monkeypatch.setattr(
        "apps.sentiment.data.load_split", lambda source, split: splits.append(split) or load_split(source, split)
    )
    part = load(str(hub), dataset, True)
    assert splits == [whole.split]
    assert (part.test.x, part.name, part.split) == (whole.test.x, whole.name, whole.split)


# A CSV of the user's


def write(path, rows, head=("text", "label")):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_a_csv_may_have_any_number_of_classes(tmp_path):
    rows = [(f"text {i}, with a comma\nand a second line", ("sport", "politics", "music")[i % 3]) for i in range(30)]
    data = load_csv(write(tmp_path / "news.csv", rows), "text", "label")
    assert data.labels == ("music", "politics", "sport")
    assert data.name == "news.csv"
    assert np.bincount(data.test.t).tolist() == [2, 2, 2]
    assert len(data.train) == 24


def test_a_csv_may_begin_with_empty_lines(tmp_path):
    path = write(tmp_path / "a.csv", GOOD)
    path.write_text("\n\n" + path.read_text("utf-8"), "utf-8")
    assert read_csv(path, "text") == ["a", "b", "c", "d"]
    path.write_text("\n\n\n")
    with pytest.raises(InputError, match="no row below its head"):
        read_csv(path, "text")


GOOD = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, ("e", "z")], "label 'z' occurs once in .*bad.csv, in row 6: every label needs two rows"),
        ([*GOOD, ("e", " ")], "Row 6 of .*bad.csv has no label: fill it in"),
        ([*GOOD, (), (), ("e", "z")], "label 'z' occurs once in .*bad.csv, in row 8: every label needs two rows"),
        ([(), *GOOD, (), ("e", " ")], "Row 8 of .*bad.csv has no label: fill it in"),
        ([*GOOD, ("e",)], "Row 6 of .*bad.csv has 1 columns, so no label"),
        ([*GOOD, ("e" * 10_000_000, "x")], "Row 6 of .*bad.csv is too long: a text may have 100,000 characters: cut"),
        ([*GOOD, ("e" * 120_000, "x")], "Row 6 of .*bad.csv has 120,000 characters, more than the 100,000"),
        ([("a", "x"), ("b", "x")], "has 1 different labels: it takes 2"),
        ([], "has no row below its head"),
    ],
)
def test_a_fault_in_a_csv_is_named_with_its_row(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        load_csv(write(tmp_path / "bad.csv", rows), "text", "label")


def test_a_file_that_is_no_csv_is_named(tmp_path):
    path = write(tmp_path / "a.csv", GOOD)
    with pytest.raises(InputError, match="no column 'review' of its own: it has text, label; give the name of one"):
        read_csv(path, "review")
    with pytest.raises(InputError, match=r"it has n0, n1, .*, n29; give the name of one"):
        read_csv(write(tmp_path / "wide.csv", [], [f"n{i}" for i in range(10_000)]), "review")
    with pytest.raises(InputError, match="it has it twice"):
        read_csv(write(tmp_path / "b.csv", GOOD, ("text", "text")), "text")
    (tmp_path / "c.csv").write_bytes(b"text,label\nfine,x\ncaf\xe9,x\n")
    with pytest.raises(InputError, match=r"c\.csv is not UTF-8 near row 3: save it as UTF-8"):
        read_csv(tmp_path / "c.csv", "text")
    (tmp_path / "d.csv").write_text('text,label\n"open,x\n')
    with pytest.raises(InputError, match=r"Row 2 of .*d\.csv cannot be read"):
        read_csv(tmp_path / "d.csv", "text")
    for place in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(InputError, match="is not a file"):
            read_csv(place, "text")


def test_a_byte_order_mark_and_empty_lines_are_no_fault(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufefftext,label\n\ngood,x\n\n".encode())
    assert read_csv(tmp_path / "a.csv", "text") == ["good"]
