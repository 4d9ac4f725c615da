"""Check functions and model that the configuration names before any job; list and digest the files behind them."""

import hashlib
import json
import os
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from fieldwork import InputError, outputs, processes
from fieldwork.inputs import outlining
from fieldwork.inputs.paths import check_exists, is_url
from fieldwork.planning import provenance
from fieldwork.planning.provenance import imported_names

BUILT_IN_MODEL = Path(__file__).parents[1] / "segmentation" / "network.onnx"
MODEL_CHECK = BUILT_IN_MODEL.with_name("model_form.py")
LARGEST_MODEL_BYTES = 2**24  # the built-in one has 0.4 MB
RUNTIME = "onnxruntime"  # module and distribution
IMPORTS_TIMEOUT_S = 60  # PyTorch from a slow network folder takes half of that
ANSWERS_FOLDER = Path(".snakemake/fieldwork")  # below the working directory; without it everything is asked again
USER_FUNCTIONS = Path(__file__).parents[1] / "user_functions.py"


def check_calls(
    calls: Iterable[tuple[str, str, dict]],
    *,
    segmenters: Iterable[tuple[str, str, dict]] = (),
    metrics: Iterable[tuple[str, str]] = (),
    folders: Iterable[str | os.PathLike] = (),
) -> dict[str, list[str]]:
    """Check functions and metrics in a process of its own, as modules may crash, start threads, or print.

    Functions that passed are not checked again until they, their arguments, or what is installed changes.

    Parameters
    ----------
    calls : iterable of (str, str, dict)
        The configuration's key, for the message; the function's name; its arguments.
    segmenters : iterable of (str, str, dict)
        The same for functions that find nuclei.
    metrics : iterable of (str, str)
        The same for metrics: key and name.
    folders
        As for `find`.

    Returns
    -------
    dict of str to list of str
        Name of a segmenter -> the names of `user_functions.CONTEXT` that it declares.

    Raises
    ------
    InputError
        One line for the first that is wrong: its key, what was found, what is expected.
    """
    folders = [os.path.abspath(folder) for folder in folders]
    keys, questions = [], []
    for key, name, arguments, segments in [
        *((*call, False) for call in calls),
        *((*call, True) for call in segmenters),
        *((key, name, None, False) for key, name in metrics),
    ]:
        keys.append(key)
        questions.append({"name": name, "arguments": arguments, "folders": folders, "segments": segments})
    if not questions:
        return {}
    declared = _kept(["functions", questions, _installed(questions, folders)], lambda: _ask(keys, questions))
    return {
        question["name"]: names for question, names in zip(questions, declared, strict=True) if question["segments"]
    }


def _installed(questions, folders):
    """Return what decides, beside questions, whether functions pass: Python, packages, and the user's own modules."""
    environment = _environment()
    own = module_files([question["name"] for question in questions], folders=[*folders, *environment[2]])
    code = provenance.digest_of({**own, str(USER_FUNCTIONS): USER_FUNCTIONS})
    return [*environment, code]


def _environment():
    """Return what changes when something is installed: Python, and its folders of packages."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()}
    changed = [(path, os.stat(path).st_mtime_ns) for path in sorted(packages) if os.path.isdir(path)]
    return [sys.executable, sys.version, paths, changed]


def _ask(keys, questions):
    """Ask a process about functions; return what it says that they declare, or raise an InputError for the first."""
    answered, reason, last_line = _in_process("fieldwork.user_functions", lines=json.dumps(questions).encode())
    for key, question, answer in zip(keys, questions, [*answered, None], strict=False):
        if answer is None:
            raise InputError(f"{key}: Python {reason} while it imported {question['name']}{last_line}")
        if answer[0]:
            raise InputError(f"{key}: {answer[0]}")
    return [declared for _, declared in answered]


def _in_process(module, *arguments, lines=b""):
    """Run a module of the library; return the answers that it printed, how it ended, and its last words."""
    # -P: without the working directory, as in jobs; a user's skimage.py there would hide the installed module.
    command = [sys.executable, "-P", "-m", module, *arguments]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    # Files and not pipes: a process that a module has started would hold a pipe open.
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.run(
                command,
                input=lines,
                stdout=answers,
                stderr=printed,
                env={**os.environ, **processes.ONE_THREAD, "PYTHONPATH": path},
                timeout=IMPORTS_TIMEOUT_S,
            )
            end = process.returncode
            reason = f"was ended by {signal.Signals(-end).name}" if end < 0 else f"ended (exit status {end})"
        except subprocess.TimeoutExpired:
            reason = f"was not done after {IMPORTS_TIMEOUT_S} s"
        answers.seek(0)
        printed.seek(0)
        answered = [json.loads(line) for line in answers]
        last_line = printed.read().decode(errors="replace").strip().rpartition("\n")[2]
    return answered, reason, f"; it printed last: {last_line}" if last_line else ""


def check_model(model: str, detections: Iterable[Mapping], source: str) -> None:
    """Check that a file is a model of the network, in a process of its own, and that its runtime is installed.

    Parameters
    ----------
    model : str
        The key ``nuclei.model``.
    detections : iterable of mapping
        From `methods.detection_of`: all of the run.
    source : str
        Of the configuration, for the message.

    Raises
    ------
    InputError
        One line: what was found, what is expected.
    """
    if find_spec(RUNTIME) is None and any(map(outlining.takes_model, detections)):
        raise InputError(
            f"{source}: nuclei are to be found by the network, but the package {RUNTIME}, which runs it, is not "
            "installed: install it as envs/requirements.lock has it, or set nuclei.method: classical"
        )
    if model == outlining.BUILT_IN:
        return
    where = f"{source}: nuclei.model is"
    expected = "expected the path of an ONNX file of the network's form, as `make train` writes it, or built-in"
    if is_url(model):
        raise InputError(f"{where} '{model}', a URL; {expected}")
    check_exists(model, where=source, what="nuclei.model is")
    if os.path.isdir(model):
        raise InputError(f"{where} '{model}', a folder; {expected}")
    if (size := os.path.getsize(model)) > LARGEST_MODEL_BYTES:
        raise InputError(
            f"{where} '{model}', which has {size:,} bytes; {expected}, of less than {LARGEST_MODEL_BYTES:,}"
        )
    try:
        code = provenance.digest_of({"built-in": BUILT_IN_MODEL, "check": MODEL_CHECK})
        key = ["model", _digest_read(model), _environment(), code]
    except OSError as error:
        raise InputError(f"{where} '{model}', which cannot be read: {error.strerror}") from None

    def ask():
        answers, reason, last_line = _in_process("fieldwork.segmentation.model_form", os.path.abspath(model))
        if not answers:
            raise InputError(f"{where} '{model}': Python {reason} while it read it{last_line}; {expected}")
        if answers[0]:
            raise InputError(f"{where} '{model}': {answers[0]}; {expected}")
        return answers

    _kept(key, ask)


def outlined_by(detection: Mapping) -> dict:
    """Return what tables say of how nuclei are outlined beside `methods.keys_of`: the detector, and its model.

    Parameters
    ----------
    detection : mapping
        From `methods.detection_of`.

    Returns
    -------
    dict
        ``detector``, of `outlining.METHODS`; with the network ``model``, its file's name, and ``model_digest``.
        Nothing for other methods.
    """
    if detection["method"] not in outlining.METHODS:
        return {}
    method = {"method": detection["method"], "detector": outlining.detector_of(detection["method"])}
    if not outlining.takes_model(detection):
        return method
    name = os.path.basename(detection["model"]) if detection["model"] else outlining.BUILT_IN
    return {**method, "model": name, "model_digest": file_digest(_model_file(detection))}


def runtime_of(detection: Mapping) -> dict[str, str | None]:
    """Return the version of what runs the network, where `detection`, as for `outlined_by`, uses it; else nothing."""
    return provenance.versions_of([RUNTIME] if outlining.takes_model(detection) else ())


def model_code(detection: Mapping) -> str:
    """Return a digest of the network's model, and the version of what runs it; `detection` is as for `outlined_by`."""
    return f"{file_digest(_model_file(detection))} {RUNTIME} {runtime_of(detection)[RUNTIME]}"


def _model_file(detection):
    if detection["model"]:  # jobs look later than the run did
        check_exists(detection["model"], where="configuration", what="nuclei.model is")
    return detection["model"] or BUILT_IN_MODEL


def module_files(names: Iterable[str], *, folders: Iterable[str | os.PathLike]) -> dict[str, Path]:
    """List the files of the user's own modules, whose changes re-make tables. Nothing is imported.

    Parameters
    ----------
    names : iterable of str
        Of functions, as for `find`.
    folders : iterable of path-like
        As for `find`.

    Returns
    -------
    dict of str to pathlib.Path
        By path below the folder, of the first folder that has the file, as Python imports it; with the modules of those
        folders that they import, but without imports by a name that is composed at run time.
    """
    files = {}
    for folder in map(Path, folders):
        seen = set()
        ahead = [tuple(name.split(".")) for name in names]
        while ahead:
            dotted = ahead.pop()
            for count in range(1, len(dotted) + 1):
                stem = folder.joinpath(*dotted[:count])
                for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
                    if path not in seen and path.is_file():
                        seen.add(path)
                        files.setdefault(path.relative_to(folder).as_posix(), path)
                        with suppress(SyntaxError, ValueError):  # `check_calls` reports those
                            ahead += [tuple(name.split(".")) for name in imported_names(path, root=folder)]
    return files


def package_versions(names: Iterable[str], *, folders: Iterable[str | os.PathLike]) -> list[str]:
    """List the installed packages that the user's functions are from, or that their modules import.

    Parameters
    ----------
    names, folders
        As for `module_files`.

    Returns
    -------
    list of str
        Names with versions, sorted; without packages that those packages import.
    """
    names = list(names)
    imported = {*names}
    for key, path in module_files(names, folders=folders).items():
        with suppress(SyntaxError, ValueError):
            imported |= imported_names(path, root=path.parents[len(Path(key).parts) - 1])
    modules = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    if not modules:
        return []
    known = _kept(["packages", _environment()], metadata.packages_distributions)
    packages = {package for module in modules for package in known.get(module, ())}
    return [f"{package} {metadata.version(package)}" for package in sorted(packages)]


def argument_files(arguments: object) -> list[str]:
    """List the files that the values of a function's arguments name, such as a model's weights.

    Parameters
    ----------
    arguments : object
        Dicts and lists of values; a text that is the path of a file on disk names it.

    Returns
    -------
    list of str
        Paths as they are written, without repeats.
    """
    if isinstance(arguments, str):
        return [arguments] if os.path.isfile(arguments) else []
    values = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else ()
    return list(dict.fromkeys(path for value in values for path in argument_files(value)))


def without_folders(arguments: object) -> object:
    """Return arguments in which the path of a file or a folder on disk is its name alone."""
    if isinstance(arguments, dict):
        return {key: without_folders(value) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [without_folders(value) for value in arguments]
    is_path = isinstance(arguments, str) and os.path.exists(arguments)
    return os.path.basename(os.path.abspath(arguments)) if is_path else arguments


def file_digest(path: str | os.PathLike) -> str:
    """Digest the content of a file, which is read again only when its size or modification time has changed."""

    status = os.stat(path)
    key = ["file", os.path.abspath(path), status.st_size, status.st_mtime_ns]
    return _kept(key, lambda: _digest_read(path))


def _digest_read(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _kept(question, ask):
    """Return the answer to a question, from the disk where an earlier start of Snakemake asked. Errors are not kept.

    The question has everything that the answer depends on, and the same text in every process.
    """
    path = ANSWERS_FOLDER / hashlib.sha256(repr(question).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    with suppress(OSError, ValueError):  # no answer yet, or half of one
        return json.loads(path.read_bytes())
    answer = json.dumps(ask())
    with suppress(OSError):  # a folder that is not the user's: asked again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        with outputs.atomic_file(path) as part:
            part.write_text(answer, encoding="utf-8")
    return json.loads(answer)
