"""Android's class list is read as jadx writes it, and compilers can use the jar made of it."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from android_demo.tools import class_set, framework_jar, tools
from android_demo.tools.class_set import finds_method, read_class_set
from hydra_mobile.core.errors import ArtifactError

NAMES = (
    *("java.lang.Object", "java.lang.String", "java.lang.Enum", "java.util.List"),
    *("java.lang.Runnable", "java.lang.Throwable", "java.lang.Exception", "made.View"),
    *("made.View$OnClick", "made.Kind", "made.Button", "java.lang.Comparable"),
)


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def types(*values: bytes) -> bytes:
    return bytes([len(values)]) + b"".join(values)


def object_(name: str) -> bytes:
    return b"\4" + struct.pack(">i", NAMES.index(name))


def generic(name: str, *arguments: bytes) -> bytes:
    return b"\1" + struct.pack(">i", NAMES.index(name)) + types(*arguments)


def variable(name: str, *bounds: bytes) -> bytes:
    return b"\2" + text(name) + types(*bounds)


VOID, INT, BOOLEAN = b"\6V", b"\6I", b"\6Z"
NONE = b"\xff"
LIST = object_("java.util.List")
STRING, OBJECT = object_("java.lang.String"), object_("java.lang.Object")
WILD, EXTENDS, SUPER = b"\0\0", b"\0\1" + STRING, b"\0\xff" + STRING
ARRAY = b"\5" + STRING


def method(
    name: str,
    arguments: tuple[bytes, ...] = (),
    returns: bytes = VOID,
    flags: int = 1,
    generic_arguments: tuple[bytes, ...] = (),
    generic_returns: bytes = NONE,
    variables: bytes = b"\0",
    throws: tuple[bytes, ...] = (),
) -> bytes:
    return (
        text(name)
        + types(*arguments)
        + returns
        + types(*generic_arguments)
        + generic_returns
        + variables
        + struct.pack(">i", flags)
        + types(*throws)
    )


def class_(parents: tuple[bytes, ...], *methods: bytes, variables: bytes = b"\0") -> bytes:
    listed = types(*parents) if parents else NONE
    return listed + variables + struct.pack(">h", len(methods)) + b"".join(methods)


INIT, CLINIT = method("<init>", flags=0x10001), method("<clinit>", flags=0x10008)
T = types(variable("T", object_("made.View")))
CLASSES = {
    "java.lang.Object": class_((), INIT, method("toString", (), STRING)),
    "java.lang.String": class_((OBJECT,), INIT),
    "java.lang.Enum": class_(
        (OBJECT,), INIT, variables=types(variable("E", generic("java.lang.Enum", variable("E"))))
    ),
    "java.util.List": class_(
        (OBJECT,),
        method("size", (), INT, flags=0x401),
        variables=types(variable("E")),
    ),
    "java.lang.Runnable": class_((OBJECT,), method("run", flags=0x401)),
    "java.lang.Throwable": class_((OBJECT,), INIT),
    "java.lang.Exception": class_((object_("java.lang.Throwable"),), INIT),
    "made.View": class_(
        (OBJECT,),
        INIT,
        CLINIT,
        method("post", (object_("java.lang.Runnable"),), BOOLEAN),
        method("setOnClick", (object_("made.View$OnClick"),)),
        method(
            "find",
            (INT,),
            object_("made.View"),
            generic_arguments=(INT,),
            generic_returns=variable("T"),
            variables=T,
        ),
        method(
            "names",
            (object_("java.util.List"), ARRAY),
            object_("java.util.List"),
            flags=0x9,
            generic_arguments=(generic("java.util.List", SUPER), ARRAY),
            generic_returns=generic("java.util.List", EXTENDS),
            throws=(object_("java.lang.Exception"),),
        ),
        method(
            "any", (), object_("java.util.List"), generic_returns=generic("java.util.List", WILD)
        ),
        method("slow", (b"\6J", b"\6D"), VOID, flags=0x21),
    ),
    "made.View$OnClick": class_((OBJECT,), method("onClick", (object_("made.View"),), flags=0x401)),
    "made.Kind": class_((generic("java.lang.Enum", object_("made.Kind")),), CLINIT),
    "made.Button": class_(
        (object_("made.View"), object_("java.lang.Runnable")), INIT, method("run")
    ),
    "java.lang.Comparable": class_((OBJECT,), variables=types(variable("T"))),
}
WRITTEN = (
    b"jadx-cst\3"
    + struct.pack(">i", len(NAMES))
    + b"".join(map(text, NAMES))
    + b"".join(CLASSES[name] for name in NAMES)
)


def test_types_and_signatures() -> None:
    classes = read_class_set(WRITTEN)
    assert list(classes) == [name.replace(".", "/") for name in NAMES]
    methods = {m.name: m for m in classes["made/View"].methods}
    assert methods["find"].descriptor == "(I)Lmade/View;"
    assert methods["find"].generic_returns.signature == "TT;"
    names = methods["names"]
    assert names.descriptor == "(Ljava/util/List;[Ljava/lang/String;)Ljava/util/List;"
    assert [t.signature for t in names.generic_arguments] == [
        "Ljava/util/List<-Ljava/lang/String;>;",
        "[Ljava/lang/String;",
    ]
    assert names.generic_returns.signature == "Ljava/util/List<+Ljava/lang/String;>;"
    assert methods["any"].generic_returns.signature == "Ljava/util/List<*>;"
    button = classes["made/Button"]
    assert [p.descriptor for p in button.parents] == ["Lmade/View;", "Ljava/lang/Runnable;"]


def test_methods_are_found_in_parents() -> None:
    classes = read_class_set(WRITTEN)
    assert finds_method(classes, "made/Button", "find", "(I)Lmade/View;")
    assert finds_method(classes, "java/lang/Runnable", "toString", "()Ljava/lang/String;")
    assert not finds_method(classes, "made/Button", "find", "(J)Lmade/View;")
    assert not finds_method(classes, "made/Button", "seek", "(I)Lmade/View;")
    assert not finds_method(classes, "made/Nothing", "find", "(I)Lmade/View;")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4", "begins with"),
        (b"jadx-cst\4" + WRITTEN[9:], "version 3"),
        (WRITTEN[:-3], "damaged at byte"),
        (WRITTEN + b"\0", "1 bytes too many"),
        (WRITTEN.replace(b"\6V", b"\x09V", 1), "type of kind 9"),
    ],
)
def test_what_is_no_class_set(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_class_set(data)


def test_a_compiler_uses_the_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed")
    fields = tmp_path / "fields.tsv"
    fields.write_text(
        "# a comment\nmade/View\tGONE\tI\t8\nmade/View\tNAME\tLjava/lang/String;\tview\n"
        "made/View\tcount\tI\t.\nmade/Kind\tFIRST\tLmade/Kind;\t=\n"
    )
    classes = read_class_set(WRITTEN)
    read_fields = framework_jar.read_fields
    monkeypatch.setattr(framework_jar, "read_fields", lambda: read_fields(fields))
    jar = tmp_path / "made.jar"
    framework_jar.write_framework_jar(jar, classes)
    again = tmp_path / "again.jar"
    framework_jar.write_framework_jar(again, classes)
    assert jar.read_bytes() == again.read_bytes()
    used = tmp_path / "Used.java"
    used.write_text(
        """
        import made.*;
        class Used {
            static final int GONE = View.GONE + 1;
            static final String NAME = View.NAME + "s";
            Kind kind = Kind.FIRST;
            int count(View view) {
                view.setOnClick(new View.OnClick() {
                    public void onClick(View v) { v.post(() -> {}); }
                });
                view.setOnClick(v -> new Button().run());
                Button button = view.find(3);
                view.slow(1L, 2.0);
                try {
                    java.util.List<? extends String> names = View.names(null, new String[0]);
                } catch (Exception error) { }
                return button.count;
            }
        }
        """
    )
    # Without java.* of the made set: the compiler has its own.
    with zipfile.ZipFile(jar) as whole, zipfile.ZipFile(tmp_path / "own.jar", "w") as own:
        for name in whole.namelist():
            if name.startswith("made/"):
                own.writestr(name, whole.read(name))
    command = ["javac", "-Werror", "-d", str(tmp_path), "-cp", str(tmp_path / "own.jar"), str(used)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    constants = subprocess.run(
        ["javap", "-constants", "-p", "-cp", str(tmp_path), "Used"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "GONE = 9;" in constants
    assert 'NAME = "views";' in constants
    used.write_text("class Used { made.Button b = new made.View(); }")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "types" in done.stderr


def test_a_field_of_no_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framework_jar, "read_fields", lambda: {"made/Veiw": []})
    with pytest.raises(ArtifactError, match="made/Veiw"):
        framework_jar.write_framework_jar(tmp_path / "made.jar", read_class_set(WRITTEN))


def test_every_field_is_used() -> None:
    sources = Path(tools.__file__).parents[1] / "app" / "src"
    text = "".join(file.read_text() for file in sources.rglob("*.kt"))
    for fields in framework_jar.read_fields().values():
        for field in fields:
            assert field.name in text, field


@pytest.mark.slow
def test_the_real_class_set(compiler_cache: Path) -> None:
    if not (compiler_cache / "wheels" / tools.WHEEL).is_file():
        pytest.skip(f"{tools.WHEEL} is not in the cache: run `hydra-mobile app setup` once")
    classes = tools.framework_classes()
    assert len(classes) > 5000
    assert finds_method(
        classes, "android/app/Activity", "startActivity", "(Landroid/content/Intent;)V"
    )
    shown = finds_method(classes, "android/widget/Button", "setVisibility", "(I)V")
    assert shown, "found in a class above"
    assert not finds_method(classes, "android/widget/Button", "setVisibility", "(J)V")
    assert isinstance(classes["android/app/Activity"], class_set.ClassDeclaration)
