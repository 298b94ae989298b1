"""Put a version of NiiVue into the package, for `flairprep view`: its build for a script tag, gzipped, and its record.

    cd /tmp && npm pack @niivue/niivue@0.69.0
    python docs/niivue.py /tmp/niivue-niivue-0.69.0.tgz

niivue.LICENSE.txt beside it is kept by hand: dist/metafile-esm.json of the package lists what the new version bundles.
"""

import gzip
import hashlib
import json
import sys
import tarfile
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[1] / "src/flairprep/viewer/templates"
NAME, BUILD = "@niivue/niivue", "dist/niivue.umd.js"
LARGEST = 1_000_000  # bytes of the gzipped build


def vendor(tarball: Path, out: Path) -> None:
    """Write niivue.umd.js.gz and niivue.json of the npm package `tarball` into `out`.

    Raises:
        ValueError: it is another package, or larger than LARGEST.
    """
    with tarfile.open(tarball) as archive:
        package, script = (_member(archive, f"package/{name}") for name in ("package.json", BUILD))
    described = json.loads(package)
    if described["name"] != NAME:
        raise ValueError(f"{tarball}: {described['name']}, not {NAME}")
    packed = gzip.compress(script, 9, mtime=0)
    if len(packed) > LARGEST:
        raise ValueError(f"{tarball}: {BUILD} takes {len(packed)} bytes, more than {LARGEST}")
    record = {
        "package": NAME,
        "version": described["version"],
        "file": BUILD,
        "sha256": hashlib.sha256(script).hexdigest(),
        "licence": described["license"],
        "homepage": described["homepage"],
    }
    (out / "niivue.umd.js.gz").write_bytes(packed)
    (out / "niivue.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{archive.name}: {name} is no file")
    return file.read()


if __name__ == "__main__":
    vendor(Path(sys.argv[1]), TEMPLATES)
