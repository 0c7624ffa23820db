"""Where the batch axis is found, and that samples come back along it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from domino_onnx.data import load_data
from domino_onnx.data.batching import Batching, find_batching
from domino_onnx.errors import DataError

Axes = tuple[Any, ...]

FOUND: list[tuple[str, dict[str, Axes], dict[str, int | None], int | None, bool]] = [
    ("silero", {"x": ("batch", "s"), "sr": (), "h": (2, "batch", 128)}, {"x": 0, "sr": None, "h": 1}, None, True),
    ("torch.export", {"x": ("s0", 512), "h": (2, "s0", 128)}, {"x": 0, "h": 1}, None, True),
    ("time first", {"x": ("time", "N", 40)}, {"x": 1}, None, True),
    ("N is a width", {"x": ("M", "N")}, {"x": 0}, None, True),
    ("unnamed", {"x": (None, 3), "y": (None, 3, 4)}, {"x": 0, "y": 0}, None, True),
    ("fixed at 1", {"x": (1, 512), "y": (1, 3)}, {"x": 0, "y": 0}, 1, True),
    ("fixed at 4", {"x": (4, 512), "h": (2, 4, 8)}, {"x": 0, "h": 1}, 4, False),
    ("fixed at 1, inside", {"x": (1, 512), "h": (2, 1, 8)}, {"x": 0, "h": 1}, 1, False),
    ("fixed at 4, one layer", {"x": (4, 512), "h": (1, 4, 8)}, {"x": 0, "h": 1}, 4, False),
    ("fixed at 1, a table", {"x": (1, 64), "t": (10, 64)}, {"x": 0, "t": None}, 1, False),
    ("unnamed, inside", {"x": (None, 512), "h": (2, None, 8)}, {"x": 0, "h": 1}, None, False),
    ("a table", {"x": ("batch", 8), "t": (100, 8)}, {"x": 0, "t": None}, None, True),
    ("a mask", {"x": ("batch", "seq"), "m": ("seq", "seq")}, {"x": 0, "m": None}, None, True),
    ("another name", {"x": ("batch", 8), "y": ("rows", 8)}, {"x": 0, "y": 0}, None, False),
    ("positions", {"x": ("batch", "seq"), "p": (1, "seq")}, {"x": 0, "p": None}, None, True),
    ("a product", {"x": ("batch", 8), "y": ("batch*8", 4)}, {"x": 0, "y": 0}, None, False),
    ("nothing alike", {"x": (4, 10), "y": (5, 10)}, {"x": None, "y": None}, None, False),
]


@pytest.mark.parametrize(("inputs", "axes", "size", "certain"), [case[1:] for case in FOUND], ids=[c[0] for c in FOUND])
def test_the_batch_axis_is_found(
    inputs: dict[str, Axes], axes: dict[str, int | None], size: int | None, certain: bool
) -> None:
    found = find_batching(inputs)
    assert (dict(found.axes), found.size, found.certain) == (axes, size, certain)


def test_outputs_have_the_axis_that_their_names_or_the_user_say() -> None:
    inputs = {"x": ("batch", 8)}
    outputs: dict[str, Axes | None] = {"y": ("batch", 3), "h": (2, "batch", 5), "z": (2, None), "any": None}
    assert find_batching(inputs, outputs).outputs == {"h": 1}
    assert find_batching(inputs, outputs, {"z": 1, "h": 0}).outputs == {"z": 1}


def test_what_the_user_says_comes_first() -> None:
    inputs = {"x": (None, None, 40), "m": (None, None)}
    assert find_batching(inputs, said={"x": 1, "m": "none"}).axes == {"x": 1, "m": None}


@given(
    st.lists(st.tuples(st.lists(st.integers(2, 9), min_size=1, max_size=3), st.integers(0, 3)), min_size=1, max_size=4)
)
def test_a_named_batch_axis_is_found_wherever_it_is(inputs: list[tuple[list[int], int]]) -> None:
    places = {f"x{number}": min(place, len(sizes)) for number, (sizes, place) in enumerate(inputs)}
    axes: dict[str, Axes] = {}
    for (name, place), (sizes, _) in zip(places.items(), inputs, strict=True):
        axes[name] = (*sizes[:place], "batch_size", *sizes[place:])
    assert find_batching(axes) == Batching(axes=places)


def model_of(**inputs: tuple[int, Axes | None]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["y"], value_floats=[1.0])
    return helper.make_model(helper.make_graph([constant], "g", values, [output]))


F, I64 = TensorProto.FLOAT, TensorProto.INT64
COUNT = 5
X = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
STATE = np.arange(2 * COUNT * 4, dtype=np.float32).reshape(2, COUNT, 4)
RATE = np.int64(16000)
VOICE = {"x": (F, ("batch", "s")), "sr": (I64, ()), "h": (F, (2, "batch", 4))}
GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("as the model has it", {"x": X, "sr": RATE, "h": STATE}),
    ("a rate in a list", {"x": X, "sr": np.array([16000]), "h": STATE}),
    ("a rate a sample", {"x": X, "sr": np.full(COUNT, 16000), "h": STATE}),
    ("samples first", {"x": X, "sr": RATE, "h": STATE.transpose(1, 0, 2)}),
]


@pytest.mark.parametrize("arrays", [case[1] for case in GIVEN], ids=[case[0] for case in GIVEN])
@pytest.mark.parametrize("kind", ["npz", "folder of npz", "folder of npy"])
def test_forms_of_one_thing_give_the_same_runs(arrays: dict[str, Any], kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, arrays, kind)
    data = load_data(path, model_of(**VOICE))
    assert data.count == COUNT
    runs = list(data.batches(2))
    assert [len(run["x"]) for run in runs] == [2, 2, 1]
    for run, some in zip(runs, (slice(0, 2), slice(2, 4), slice(4, 5)), strict=True):
        np.testing.assert_array_equal(run["x"], X[some])
        np.testing.assert_array_equal(run["h"], STATE[:, some])
        assert run["sr"].shape == ()
        assert run["sr"] == 16000
    part = data.subset(np.array([4, 1]))
    np.testing.assert_array_equal(part.take(np.arange(2))["h"], STATE[:, [4, 1]])


def written(folder: Path, arrays: dict[str, Any], kind: str) -> Path:
    if kind == "npz":
        np.savez(folder / "data.npz", **arrays)
        return folder / "data.npz"
    path = folder / "data"
    path.mkdir()
    if kind == "folder of npy":
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
        return path
    for number, some in enumerate((slice(0, 3), slice(3, COUNT))):
        parts = {name: array[some] if np.shape(array)[:1] == (COUNT,) else array for name, array in arrays.items()}
        if arrays["h"] is STATE:
            parts["h"] = STATE[:, some]
        np.savez(path / f"{number}.npz", **parts)
    return path


@pytest.mark.parametrize(("shape", "declared"), [((), ()), ((1,), (1,)), ((1, 1), (1, 1))])
def test_numbers_that_differ_are_run_one_by_one(shape: Axes, declared: Axes, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, sr=np.arange(COUNT), h=STATE)
    data = load_data(tmp_path / "data.npz", model_of(**VOICE | {"sr": (I64, declared)}))
    runs = list(data.batches(32))
    assert [run["sr"].shape for run in runs] == [shape] * COUNT
    assert [int(run["sr"].item()) for run in runs] == list(range(COUNT))
    assert runs[3]["h"].shape == (2, 1, 4)
    np.testing.assert_array_equal(runs[3]["h"][:, 0], STATE[:, 3])


def test_a_rate_in_each_file_of_a_folder(tmp_path: Path) -> None:
    for number, rate in enumerate((8000, 16000)):
        np.savez(tmp_path / f"{number}.npz", x=X, sr=np.int64(rate), h=STATE)
    runs = list(load_data(tmp_path, model_of(**VOICE)).batches(32))
    assert [int(run["sr"]) for run in runs] == [8000] * COUNT + [16000] * COUNT


def test_whole_sets_of_inputs_with_a_rate_each(tmp_path: Path) -> None:
    whole = {"x": X[:, None], "sr": np.arange(COUNT), "h": STATE.transpose(1, 0, 2)[:, :, None]}
    np.savez(tmp_path / "data.npz", **whole)
    data = load_data(tmp_path / "data.npz", model_of(**VOICE))
    assert data.stacked
    run = list(data.batches(32))[3]
    np.testing.assert_array_equal(run["x"], X[3:4])
    np.testing.assert_array_equal(run["h"], STATE[:, 3:4])
    assert isinstance(run["sr"], np.ndarray)
    assert (run["sr"].shape, int(run["sr"])) == ((), 3)


@pytest.mark.parametrize(
    ("inputs", "shared"),
    [
        ({"x": ("batch", 3), "table": (7, 3)}, (7, 3)),
        ({"x": ("batch", "s"), "table": ("s", "s")}, (3, 3)),
        ({"x": (None, 3), "table": (1, 3)}, (1, 3)),
        ({"x": (1, 3), "table": (7, 3)}, (7, 3)),
    ],
)
def test_what_all_samples_share_is_in_every_run(inputs: dict[str, Axes], shared: Axes, tmp_path: Path) -> None:
    table = np.arange(np.prod(shared), dtype=np.float32).reshape(shared)
    np.savez(tmp_path / "data.npz", x=X, table=table)
    data = load_data(tmp_path / "data.npz", model_of(**{name: (F, axes) for name, axes in inputs.items()}))
    runs = list(data.batches(2))
    assert len(runs) == (COUNT if inputs["x"][0] == 1 else 3)
    assert all(np.array_equal(run["table"], table) for run in runs)
    np.testing.assert_array_equal(np.concatenate([run["x"] for run in runs]), X)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [1, 4])
def test_states_of_a_fixed_batch(layers: int, size: int, tmp_path: Path) -> None:
    x = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    state = np.arange(layers * 8 * 4, dtype=np.float32).reshape(layers, 8, 4)
    np.savez(tmp_path / "data.npz", x=x, h=state)
    data = load_data(tmp_path / "data.npz", model_of(x=(F, (size, 3)), h=(F, (layers, size, 4))))
    runs = list(data.batches(32))
    assert [run["h"].shape for run in runs] == [(layers, size, 4)] * (8 // size)
    np.testing.assert_array_equal(np.concatenate([run["h"] for run in runs], 1), state)
    np.testing.assert_array_equal(np.concatenate([run["x"] for run in runs]), x)


def test_the_user_names_what_nothing_tells(tmp_path: Path) -> None:
    series = np.arange(7 * COUNT * 2, dtype=np.float32).reshape(7, COUNT, 2)
    np.savez(tmp_path / "data.npz", x=series, m=np.ones((4, 4), np.float32))
    model = model_of(x=(F, (None, None, 2)), m=(F, (None, None)))
    with pytest.raises(DataError, match=r"'m' of shape \(4, 4\) holds 4 .*--batch-axis m=none"):
        load_data(tmp_path / "data.npz", model)
    data = load_data(tmp_path / "data.npz", model, {"x": 1, "m": "none"})
    runs = list(data.batches(3))
    np.testing.assert_array_equal(runs[1]["x"], series[:, 3:5])
    assert runs[1]["m"].shape == (4, 4)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a rate of two", {"sr": np.ones((COUNT, 2), int)}, r"array 'sr' of shape \(5, 2\).*one for each: shape \(5,\)"),
    ("a rate too few", {"sr": np.arange(4)}, r"'sr' of shape \(4,\) holds 4 .* 'x' of shape \(5, 3\) holds 5"),
    ("a narrow state", {"h": STATE[:, :, :3]}, r"array 'h' of shape \(2, 5, 3\).*give \(2, 5, 4\)$"),
    ("a state too few", {"h": STATE[:, :4]}, r"'h' of shape \(2, 4, 4\) holds 4 along axis 1.*give \(2, 5, 4\)$"),
]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_errors_name_the_array_and_what_would_fit(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **({"x": X, "sr": RATE, "h": STATE} | change))
    with pytest.raises(DataError, match=says) as refused:
        load_data(tmp_path / "data.npz", model_of(**VOICE))
    assert ("array 'x'" in str(refused.value)) is False


@pytest.mark.parametrize(
    ("said", "says"), [({"q": 0}, "names 'q'; the model's inputs are 'x', 'sr', 'h'"), ({"h": 3}, "'h' has 3 axes")]
)
def test_axes_that_are_not_there_are_refused(said: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, sr=RATE, h=STATE)
    with pytest.raises(DataError, match=says):
        load_data(tmp_path / "data.npz", model_of(**VOICE), said)


def test_values_a_sample_do_not_fit_a_run_of_several(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((8, 3), np.float32), sr=np.arange(8))
    model = model_of(x=(F, (4, 3)), sr=(I64, ()))
    with pytest.raises(DataError, match="different numbers of samples in a run: 'x' 4, 'sr' 1"):
        load_data(tmp_path / "data.npz", model)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    sizes=st.lists(st.integers(3, 5), min_size=1, max_size=3),
    place=st.integers(0, 3),
    count=st.integers(6, 9),
    size=st.integers(1, 9),
)
def test_runs_along_any_axis_are_slices_of_the_array(
    sizes: list[int], place: int, count: int, size: int, tmp_path: Path
) -> None:
    place = min(place, len(sizes))
    shape = (*sizes[:place], count, *sizes[place:])
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.savez(tmp_path / "data.npz", x=array)
    data = load_data(tmp_path / "data.npz", model_of(x=(F, (*sizes[:place], "batch", *sizes[place:]))))
    runs = [run["x"] for run in data.batches(size)]
    starts = range(0, count, size)
    assert len(runs) == len(starts)
    for run, start in zip(runs, starts, strict=True):
        np.testing.assert_array_equal(run, array.take(range(start, min(start + size, count)), place))
