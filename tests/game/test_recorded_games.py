import csv
import math
import pickle
import re
import tracemalloc

import numpy as np
import pytest

from crediting.errors import DataError
from crediting.estimators import Exact, KernelShap
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample, play
from crediting.game.noise import noise_of_means
from crediting.game.recorded import read_recorded
from crediting.game.toy import Gloves, UnanimitySum

TOY = UnanimitySum.random(4, (4, 3, 2), seed=0)
NAMES = ["ann", "bob", "cem", "dan"]
SMALL = "a,b,fid\n0,0,1.5\n1,0,2.5\n0,1,3.5\n1,1,4.5\n"


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(*games, coalitions=None):
    coalitions = all_coalitions(4) if coalitions is None else coalitions
    columns = [game(coalitions).tolist() for game in games]
    return [[*c.astype(int), *u] for c, *u in zip(coalitions, *columns, strict=True)]


def enumerated(game):
    """Return the sample of all that is recorded, each coalition as probable as the others."""
    return Sample(game.coalitions, np.zeros(len(game.coalitions)))


def from_text(tmp_path, text, properties=None):
    path = tmp_path / "game.csv"
    path.write_text(text)
    return read_recorded(path, properties)


def refusal(tmp_path, text, properties=None):
    """Return the complaint about a table, which must name its file."""
    with pytest.raises(DataError) as caught:
        from_text(tmp_path, text, properties)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "game.csv"))
    return message


# ------------------------------------------------------------------------------ games


def test_exact_credits_of_a_recorded_game_are_its_shapley_values(tmp_path):
    shuffled = np.random.default_rng(0).permutation(rows_of(TOY, Gloves(1, 3)))
    file = write(tmp_path / "game.csv", [*NAMES, "toy", "pairs"], shuffled)
    recorded = read_recorded(file, ["toy", "pairs"])  # pairs are 0 or 1
    assert recorded.names == tuple(NAMES)
    assert recorded.properties == ("toy", "pairs")
    assert recorded.is_complete
    for name, game in (("toy", TOY), ("pairs", Gloves(1, 3))):
        for estimator in (Exact(0.95), KernelShap(0.95, 50, 0)):
            credits = estimator(play(recorded.of(name), enumerated(recorded))).credits
            np.testing.assert_allclose(credits, game.shapley_values, rtol=0, atol=1e-12)


def test_utilities_come_back_to_the_last_bit_from_csv_and_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = rows_of(TOY)
    write(tmp_path / "game.csv", [*NAMES, "toy"], rows)
    columns = list(zip(*rows, strict=True))
    players = [pyarrow.array(np.array(column, dtype=np.int8)) for column in columns[:-1]]
    players[1] = players[1].cast(pyarrow.bool_())
    table = pyarrow.table([*players, pyarrow.array(columns[-1])], [*NAMES, "toy"])
    parquet.write_table(table, tmp_path / "game.parquet")
    coalitions = all_coalitions(4)
    for ending in ("csv", "parquet"):
        game = read_recorded(tmp_path / f"game.{ending}", None).of("toy")
        np.testing.assert_array_equal(game(coalitions), TOY(coalitions))


def test_a_coalition_on_several_rows_has_their_mean_utility(tmp_path):
    recorded = from_text(tmp_path, SMALL + "1,0,3.5\n1,0,6\n0,1,3.5\n")
    assert recorded.is_complete
    np.testing.assert_array_equal(recorded.coalitions, all_coalitions(2))
    np.testing.assert_array_equal(recorded.of("fid")(all_coalitions(2)), [1.5, 4.0, 3.5, 4.5])


# ------------------------------------------------------------------------------ noise


def test_without_repeats_there_is_no_noise_to_tell(tmp_path):
    recorded = from_text(tmp_path, SMALL)
    assert math.isnan(recorded.noises["fid"].variance)
    assert recorded == from_text(tmp_path, SMALL)
    assert (recorded.n_rows, recorded.n_coalitions) == (4, 4)


def test_noise_is_pooled_over_the_coalitions_that_repeat(tmp_path):
    recorded = from_text(tmp_path, SMALL + "1,0,4.5\n0,1,3.5\n0,1,9.5\n")
    pooled = (np.var([2.5, 4.5], ddof=1) + 2 * np.var([3.5, 3.5, 9.5], ddof=1)) / 3
    expected = pooled * np.mean([1, 1 / 2, 1 / 3, 1])
    assert recorded.noises == {"fid": (pytest.approx(expected), 3)}
    assert (recorded.n_rows, recorded.n_coalitions) == (7, 4)


@pytest.mark.parametrize("counts", [(2, 2, 2, 2), (1, 2, 3, 4), (6, 1, 1, 1)])
def test_noise_is_told_without_bias(counts):
    which = np.arange(4).repeat(counts)
    generator = np.random.default_rng(0)
    draws = np.array([10, 20, 30, 40])[which] + 3.0 * generator.normal(size=(4000, len(which)))
    found = [noise_of_means(row, which, None).variance for row in draws]
    expected = 9 * np.mean(1 / np.array(counts))
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(len(found)))


SHIFTED = "a,b,fid,replicate\n0,0,1,x\n1,0,2,x\n0,1,4,x\n1,1,3,x\n" + (
    "0,0,101,y\n1,0,102,y\n0,1,104,y\n1,1,103,y\n"
)


def test_what_a_replicate_adds_to_all_coalitions_is_no_noise_if_it_is_told(tmp_path):
    told = from_text(tmp_path, SHIFTED)
    assert told.properties == ("fid",)
    assert told.noises["fid"].variance == pytest.approx(0, abs=1e-12)
    untold = from_text(tmp_path, re.sub(",(replicate|x|y)", "", SHIFTED))
    assert untold.utilities == told.utilities
    assert untold.noises["fid"].variance == pytest.approx(np.var([0, 100], ddof=1) / 2)
    as_property = from_text(tmp_path, re.sub("y", "2", re.sub("x", "1", SHIFTED)), ["replicate"])
    assert as_property.properties == ("replicate",)


@pytest.mark.parametrize("told", [True, False])
def test_the_order_of_rows_tells_nothing(tmp_path, told):
    """Sorted rows, where the k-th of all coalitions are their k-th smallest, are as noisy."""
    generator = np.random.default_rng(0)
    rows = [
        f"{coalition},{generator.normal():.6f}" + f",{k}" * told
        for coalition in ("0,0", "1,0", "0,1", "1,1")
        for k in range(4)
    ]
    header = "a,b,fid" + ",replicate" * told
    orders = (rows, sorted(rows), rows[::-1])
    found = [from_text(tmp_path, "\n".join([header, *order])).noises["fid"] for order in orders]
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])


def test_a_row_that_is_missing_makes_no_noise_of_what_replicates_add(tmp_path):
    told = from_text(tmp_path, SHIFTED.replace("1,1,103,y\n", ""))
    assert told.noises["fid"] == (pytest.approx(0, abs=1e-12), 2)


def test_spaces_around_a_replicate_make_no_other_of_it(tmp_path):
    assert from_text(tmp_path, SHIFTED.replace("1,0,102,y", "1,0,102, y")) == from_text(
        tmp_path, SHIFTED
    )


def test_a_replicate_that_is_told_twice_makes_no_noise_of_what_others_add(tmp_path):
    told = from_text(tmp_path, SHIFTED.replace("1,1,103,y", "1,1,3,x"))
    assert told.noises["fid"] == (pytest.approx(0, abs=1e-12), 2)


def test_replicates_of_a_single_coalition_tell_no_noise():
    """What they share with those of others, which is no noise, cannot be told."""
    found = noise_of_means(np.array([1.0, 2.0]), np.zeros(2, int), np.arange(2))
    assert math.isnan(found.variance)


def test_replicates_that_all_have_other_names_take_no_memory():
    """Such as the seeds of all rows: none is shared, so they tell no more than none would."""
    which, values = np.arange(3000).repeat(2), np.random.default_rng(0).normal(size=6000)
    tracemalloc.start()
    found = noise_of_means(values, which, np.random.default_rng(1).permutation(6000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == noise_of_means(values, which, None)
    assert peak < 5e6  # bytes; a table of coalitions by replicates has 1.4e8


# ------------------------------------------------------------------------------ what is missing


def test_the_first_coalition_that_is_not_recorded_is_named(tmp_path):
    kept = [row for row in rows_of(TOY) if sum(row[:4]) != 2]
    recorded = read_recorded(write(tmp_path / "game.csv", [*NAMES, "toy"], kept), None)
    assert not recorded.is_complete
    assert len(recorded.coalitions) == 10
    with pytest.raises(DataError, match=r"6 of 16 .* 2of4-03 of 'ann', 'bob'") as caught:
        recorded.of("toy")(all_coalitions(4))
    assert str(tmp_path / "game.csv") in str(caught.value)


def test_a_property_that_is_not_recorded_is_refused(tmp_path):
    with pytest.raises(DataError, match="one of fid, got 'kid'"):
        from_text(tmp_path, SMALL).of("kid")


def test_a_game_can_be_sent_to_another_process(tmp_path):
    game = from_text(tmp_path, SMALL).of("fid")
    sent = pickle.loads(pickle.dumps(game))
    np.testing.assert_array_equal(sent(all_coalitions(2)), game(all_coalitions(2)))


# ------------------------------------------------------------------------------ columns


def test_zeros_and_ones_after_the_first_property_must_be_named_or_moved(tmp_path):
    text = "a,b,fid,won\n0,0,7,0\n1,1,8,1\n"
    message = refusal(tmp_path, text)
    assert "the column 'won' holds only 0 and 1, as those of contributors do" in message
    assert "game.properties=[won,...]" in message
    recorded = from_text(tmp_path, text, ["fid", "won"])
    assert (recorded.names, recorded.properties) == (("a", "b"), ("fid", "won"))


def test_a_first_property_of_zeros_and_ones_must_be_named(tmp_path):
    text = "a,b,won,fid\n0,0,0,7\n1,0,1,9\n1,1,0,8\n"
    message = refusal(tmp_path, text)
    assert "no row of the grand coalition" in message
    assert "'a', 'b', 'won': name the properties" in message
    recorded = from_text(tmp_path, text, ["won", "fid"])
    assert (recorded.names, recorded.properties) == (("a", "b"), ("won", "fid"))
    np.testing.assert_array_equal(recorded.of("won")(recorded.coalitions), [0, 1, 0])


def test_naming_properties_leaves_out_the_others(tmp_path):
    text = "a,b,fid,note,kid\n0,0,7,first,1\n1,1,8,,2\n"
    assert from_text(tmp_path, text, ["kid", "fid"]) == from_text(
        tmp_path, text.replace("first", "x"), ["kid", "fid"]
    )
    assert "line 2, column 'note': expected a finite number, got 'first'" in refusal(tmp_path, text)


def test_one_of_several_properties_is_read_alone(tmp_path):
    text = "a,b,kid,fid\n0,0,0.5,7\n1,1,1.5,8\n"
    recorded = from_text(tmp_path, text, ["fid"])
    assert (recorded.names, recorded.properties) == (("a", "b"), ("fid",))


def test_a_property_may_be_named_with_its_accent_stored_in_another_way(tmp_path):
    text = "a,b,note,e\u0301clat\n0,0,3,7\n1,1,4,8\n"
    assert from_text(tmp_path, text, ["\xe9clat"]) == from_text(tmp_path, text, ["e\u0301clat"])


def test_with_named_properties_a_slip_in_a_contributors_column_is_found(tmp_path):
    message = refusal(tmp_path, "a,b,fid\n0,0,7\n2,0,9\n1,1,8\n", ["fid"])
    assert "line 3, column 'a': expected 0 or 1, got '2'" in message


@pytest.mark.parametrize(
    ("text", "properties", "complaint"),
    [
        ("", None, "no row"),
        ("a,b,fid\n", None, "no row"),
        ("a,a,fid\n0,0,7\n1,1,8\n", None, "'a' is there more than once"),
        ("\xe9,e\u0301,fid\n0,0,7\n1,1,8\n", None, "'\xe9' is there more than once"),
        ("a,fid\n0,7\n1,8\n", None, "at least 2 contributors, got 1"),
        ("id,a,b,fid\nx,0,0,7\ny,1,1,8\n", None, "at least 2 contributors, got 0"),
        ("a,b\n0,0\n1,1\n", None, "no property after the contributors"),
        ("a,b,fid\n1,0,7\n1,1,8\n", None, "no row of the empty coalition"),
        ("a,b,p,replicate\n0,0,0,0\n1,0,1,0\n1,1,1,0\n0,0,0,1\n", None, "no property after the"),
        ("a,b,fid\n0,0,7\n1,0,8\n", ["fid"], "no row of the grand coalition"),
        (SMALL, ["kid"], "no column 'kid'; there are 'a', 'b', 'fid'"),
        (SMALL, [], "no property is named"),
        ('a,b,fid\n"0,0,1\n', None, "cannot be read as .csv"),
        (",a,b,fid\n0,0,0,7\n1,1,1,8\n", None, "column 1 has no name; give it one, or remove it"),
        ("a,b,replicate,fid\n0,0,0,7\n1,1,0,8\n", None, "'replicate' tells the replicate only if"),
        ("a,b,replicate,fid\n0,0,0,7\n1,1,0,8\n", ["fid"], "'replicate' tells the replicate"),
        ("a,b,fid,Replicate\n0,0,7,0\n1,1,8,0\n", None, "'Replicate' tells the replicate only"),
    ],
)
def test_a_table_that_holds_no_game_is_refused(tmp_path, text, properties, complaint):
    assert complaint in refusal(tmp_path, text, properties)


def test_a_table_that_is_not_there_is_told_in_words(tmp_path):
    path = tmp_path / "none.csv"
    with pytest.raises(DataError) as caught:
        read_recorded(path, None)
    assert str(caught.value) == f"{path}: cannot be read as .csv (No such file or directory)"


def test_a_slip_in_a_contributors_column_makes_no_property_of_it(tmp_path):
    rows = ["0,0,0,1", "1,0,0,2", "0,1,2,3", "1,1,0,4", "0,0,1,5", "1,0,1,6", "0,1,,7", "1,1,1,8"]
    said = refusal(tmp_path, "\n".join(["ada,bo,cy,fid", *rows]))
    assert "line 4, column 'cy': expected 0 or 1, as most of it is, got '2'" in said
    assert "line 8, column 'cy': expected 0 or 1, as most of it is, got ''" in said
    assert "game.properties=[cy,...]" in said
    mended = (
        "\n".join(["ada,bo,cy,fid", *rows]).replace("0,1,2,3", "0,1,0,3").replace(",,7", ",1,7")
    )
    assert from_text(tmp_path, mended).names == ("ada", "bo", "cy")
    named = from_text(tmp_path, "ada,bo,cy,fid\n0,0,0,1\n1,1,2,4\n1,0,1,2\n0,1,1,3", ["cy"])
    assert named.names == ("ada", "bo")


def test_a_column_without_a_name_is_passed_over_where_properties_are_named(tmp_path):
    game = from_text(tmp_path, "a,b,fid,\n0,0,7,\n1,1,8,\n", ["fid"])
    assert (game.names, game.properties) == (("a", "b"), ("fid",))
    assert "column 1 has no name" in refusal(tmp_path, ",a,b,fid\n0,0,0,7\n1,1,1,8\n", ["fid"])


def test_a_contributor_has_a_name_where_properties_are_named_too(tmp_path):
    rows = "0,0,0,7,3\n1,1,1,8,4\n"
    assert "column 2 has no name" in refusal(tmp_path, "a,,c,fid,\n" + rows, ["fid"])
    both = refusal(tmp_path, "a,,,fid,kid\n" + rows, ["fid"])
    assert both.count("has no name") == 2


def test_what_spreadsheets_leave_behind_is_no_row(tmp_path):
    game = from_text(tmp_path, "a, b , fid\n,,\n0,0,7\n\n1,1,8\n , ,\n")
    assert (game.names, game.properties, game.n_rows) == (("a", "b"), ("fid",), 2)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_told_how_to_be_saved(tmp_path, encoding):
    path = tmp_path / "game.csv"
    path.write_bytes("J\xf6rg,b,fid\n0,0,7\n1,1,8\n".encode(encoding))
    with pytest.raises(DataError, match=r"save it as UTF-8, which Excel calls CSV UTF-8"):
        read_recorded(path, None)


def test_truths_of_data_frames_are_zeros_and_ones(tmp_path):
    game = from_text(tmp_path, "ada,bo,fid\nFalse,False,1\nTrue,False,2\nFalse,True,3\nTrue,True,4")
    assert (game.n_players, game.n_coalitions) == (2, 4)


def with_utility(value):
    return f"ada,bo,fid\n0,0,0\n1,0,0\n1,1,{value}\n"


@pytest.mark.parametrize("value", ["2e100", "-2e100", "5e-101"])
def test_numbers_whose_squares_cannot_be_told_apart_are_refused(tmp_path, value):
    assert "column 'fid': expected numbers" in refusal(tmp_path, with_utility(value), ["fid"])


@pytest.mark.parametrize("value", ["1e100", "-1e-100", "0"])
def test_numbers_whose_squares_and_theirs_are_numbers_are_taken(tmp_path, value):
    game = from_text(tmp_path, with_utility(value), ["fid"]).of("fid")
    assert game(np.ones((1, 2), bool)) == float(value)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_that_no_comma_separates_are_one_problem(tmp_path, mark):
    said = refusal(tmp_path, "ada,bo,fid\n0,0,1\n1,1,2".replace(",", mark))
    assert f"expected columns separated by commas, got {mark!r}" in said
    assert said.count("\n") == 1


def test_everything_wrong_with_a_table_is_said_at_once(tmp_path):
    bad = ["1,0", "1,0,nan", "0,1,seven", "0,1,", "0,1,inf", "1,0,2,3"]
    message = refusal(tmp_path, SMALL + "\n" + "\n".join(bad) + "\n")
    for complaint in (
        "line 7: expected 3 cells as in the header, got 2",
        "line 8, column 'fid': expected a finite number, got 'nan'",
        "line 9, column 'fid': expected a finite number, got 'seven'",
        "line 10, column 'fid': expected a finite number, got ''",
        "line 11, column 'fid': expected a finite number, got 'inf'",
        "line 12: expected 3 cells as in the header, got 4",
    ):
        assert complaint in message
    assert len(message.splitlines()) == 1 + len(bad)


def test_a_long_list_of_problems_is_cut_short(tmp_path):
    message = refusal(tmp_path, SMALL + "1,0,x\n" * 50)
    assert message.endswith("... and 30 more")


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "text.parquet", "game.xlsx"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "text.parquet").write_text(SMALL)
    with pytest.raises(DataError, match=name):
        read_recorded(tmp_path / name, None)
