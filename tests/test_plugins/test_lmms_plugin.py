from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import lmms_double
import pytest
from PIL import Image

from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.model_ref import model_at
from hydra_mobile.runtimes.torch import TorchRuntime

ROOT = Path(__file__).parents[2]
GREEDY = {"max_new_tokens": 4, "temperature": 0, "do_sample": False, "num_beams": 1}
OURS = ("hydra_mobile.plugins.lmms_eval", "hydra_mobile.plugins.lmms_eval_model")


def declared() -> EntryPoint:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["lmms_eval.models"].items()
    return EntryPoint(name, value, "lmms_eval.models")


@pytest.fixture(params=["double", "lmms-eval itself"])
def registry(request, monkeypatch):
    """A model registry that read our entry point, of the double and of the real package."""
    if request.param == "double":
        for name, module in lmms_double.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
    else:
        try:
            importlib.import_module("lmms_eval.models.registry_v2")
        except ImportError as error:
            pytest.skip(f"lmms-eval is not installed: {error}")
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = sys.modules["lmms_eval.models.registry_v2"]
    monkeypatch.setattr(module, "entry_points", lambda: EntryPoints([declared()]))
    made = module.ModelRegistryV2()
    made.load_entrypoint_manifests()
    yield made
    for name in OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def model_class(registry):
    return registry.get_model_class("hydra_mobile")


@pytest.fixture
def model(model_class, tiny_base):
    made = model_class.create_from_arg_string(
        f"pretrained={tiny_base}", {"batch_size": 1, "device": None}
    )
    # As lmms-eval does: the data sets by task and split.
    made.task_dict = {"drawn": {"test": [picture(color) for color in ("red", "blue")]}}
    return made


def picture(color: str, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (40, 30), color)


def visual(doc):
    return [doc]


def instance(context, *arguments, kind="generate_until", doc_id=0):
    made = importlib.import_module("lmms_eval.api.instance")
    return made.Instance(
        request_type=kind,
        arguments=(context, *arguments, doc_id, "drawn", "test"),
        idx=0,
        metadata={"task": "drawn", "doc_id": doc_id, "repeats": 1},
    )


def expected(tiny_base, question, image, most=4) -> str:
    opened = None if image is None else lambda: image
    return (
        Generator(TorchRuntime.load(tiny_base)).answer(question, opened, max_new_tokens=most).text
    )


def test_lmms_eval_finds_the_model(registry, model_class):
    assert {"hydra_mobile", "hydra-mobile"} <= set(registry.list_model_names())
    assert model_class.__name__ == "HydraMobile"
    assert model_class.is_simple is True


def test_answers_come_in_the_order_of_the_requests(model, tiny_base):
    asked = [("What is it?", 1), ("Is it red?", 0), ("What is it?", 0), ("Is it red?", 1)]
    requests = [instance(text, GREEDY, visual, doc_id=doc) for text, doc in asked]
    docs = model.task_dict["drawn"]["test"]
    alone = [expected(tiny_base, text, docs[doc]) for text, doc in asked]
    assert model.generate_until(requests) == alone
    assert len(set(alone)) > 1


def test_equal_pictures_are_encoded_once(model, monkeypatch):
    runner = model._generator.runner
    encoded = []
    encode = runner.encode_image
    monkeypatch.setattr(runner, "encode_image", lambda p: encoded.append(1) or encode(p))
    copies = [picture("red"), picture("red"), picture("blue"), picture("red")]
    model.task_dict["drawn"]["test"] = copies
    model.generate_until([instance("What?", GREEDY, visual, doc_id=i) for i in range(4)])
    assert len(encoded) == 3


def test_a_question_without_a_picture_and_one_with_a_mark(model, tiny_base):
    red = model.task_dict["drawn"]["test"][0]
    texts = model.generate_until(
        [
            instance("What is it?", GREEDY, lambda doc: []),
            instance("<image>\nWhat is it?", GREEDY, visual),
            instance("What is it?", GREEDY, lambda doc: picture("red", "RGBA")),
        ]
    )
    plain = expected(tiny_base, "What is it?", red)
    assert texts == [expected(tiny_base, "What is it?", None), plain, plain]


def test_generation_arguments(model, tiny_base):
    red = model.task_dict["drawn"]["test"][0]
    whole = expected(tiny_base, "What is it?", red, most=12)
    stop = whole[2:4]
    assert stop
    cut = model.generate_until(
        [
            instance("What is it?", GREEDY | {"max_new_tokens": 12, "until": until}, visual)
            for until in (stop, ["\n\n", stop], None, [])
        ]
    )
    assert cut == [whole.split(stop)[0]] * 2 + [whole] * 2
    short = model.generate_until([instance("What is it?", {"max_new_tokens": 1}, visual)])
    assert whole.startswith(short[0])
    assert len(short[0]) < len(whole)


@pytest.mark.parametrize(
    ("arguments", "to_visual", "message"),
    [
        (GREEDY | {"temperature": 0.7, "do_sample": True}, visual, r"'temperature': 0\.7.*greedil"),
        (GREEDY | {"num_beams": 5}, visual, "'num_beams': 5"),
        (GREEDY, lambda doc: [doc, doc], "drawn/test/0 shows 2 images"),
        (GREEDY, lambda doc: ["clip.mp4"], "shows a str; expected a PIL image"),
    ],
)
def test_what_the_model_cannot_do_is_refused(model, arguments, to_visual, message):
    with pytest.raises(HydraError, match=message):
        model.generate_until([instance("What is it?", arguments, to_visual)])


def test_likelihood_is_refused(model):
    with pytest.raises(HydraError, match=r"(?s)only generates.*mmbench_en_dev_static"):
        model.loglikelihood([])


def test_several_rounds(model, tiny_base):
    docs = model.task_dict["drawn"]["test"]
    seen = []

    def to_text(doc, previous_output, round_idx, previous_round_info):
        seen.append((list(previous_output), round_idx, previous_round_info))
        stop = round_idx == 2
        return [docs[1]], "And now?", stop, previous_output, f"after {round_idx}"

    kind = "generate_until_multi_round"
    answers = model.generate_until_multi_round(
        [instance("What is it?", GREEDY, visual, to_text, kind=kind)]
    )
    first, second = (
        expected(tiny_base, "What is it?", docs[0]),
        expected(tiny_base, "And now?", docs[1]),
    )
    assert answers == [[first, second]]
    assert seen == [([first], 1, None), ([first, second], 2, "after 1")]


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        ("", {}, "pretrained=BUNDLE"),
        ("pretrained=tiny,thread=2", {}, "`thread`, which.*`threads`"),
        ("pretrained=tiny", {"batch_size": 8}, "one question at a time"),
        ("pretrained=tiny", {"device": "cuda:99"}, "There is no `cuda:99`"),
        ("pretrained=/nowhere/at/all", {}, "/nowhere/at/all is no run"),
    ],
)
def test_wrong_model_arguments_are_explained(model_class, arguments, more, message):
    with pytest.raises(HydraError, match=rf"(?s){message}"):
        model_class.create_from_arg_string(arguments, more)


def test_an_exported_program_stays_on_the_processor(model_class, tiny_base, monkeypatch):
    module = sys.modules[OURS[1]]
    artifact = model_at(str(tiny_base))
    exported = dataclasses.replace(artifact, runner="onnx", name="ONNX Runtime int4")
    monkeypatch.setattr(module, "model_at", lambda path: exported)
    with pytest.raises(HydraError, match="ONNX Runtime int4"):
        model_class.create_from_arg_string("pretrained=x", {"device": "cuda"})


def test_the_rest_of_the_package_does_not_need_lmms_eval():
    code = (
        "import sys; sys.modules['lmms_eval'] = None\n"
        "from hydra_mobile.plugins.lmms_eval import manifest\n"
        "from hydra_mobile.core.errors import HydraError\n"
        "try: manifest()\n"
        "except HydraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hydra-mobile[lmms-eval]" in done.stdout
