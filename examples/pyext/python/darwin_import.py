"""Imports extension modules that were built for macOS on x86_64 into a Python on Linux.

    import darwin_import
    darwin_import.install("libsideload_pyext.so", "folder/of/unpacked/wheels")
    import markupsafe._speedups

A folder's `.py` files are imported as ever. Its `.so` files are opened by sideload, and their `PyInit_` functions are
called, as Python's own importer does (PEP 489 describes both ways of initialisation).
"""

import ctypes
import importlib.machinery
import os
import sys
import types

_PYTHON_API_VERSION = 1013


class _Host:
    """The functions of `libsideload_pyext.so`."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        self._open = library.pyext_open
        self._open.argtypes, self._open.restype = [ctypes.c_char_p], ctypes.c_void_p
        self._function = library.pyext_function
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._function.restype = ctypes.c_void_p
        self._error = library.pyext_error
        self._error.argtypes, self._error.restype = [], ctypes.c_char_p

    def function(self, path, name):
        """The address of a function of the library at `path`."""
        library = self._open(os.fsencode(path))
        address = library and self._function(library, name.encode())
        if not address:
            raise ImportError(self._error().decode(errors="replace"), path=path)
        return address


class _Loader(importlib.machinery.ExtensionFileLoader):
    host = None

    def create_module(self, spec):
        initialise = self.host.function(self.path, "PyInit_" + spec.name.rpartition(".")[2])
        # A module that is made at once learns here that it is part of a package.
        context = ctypes.c_char_p.in_dll(ctypes.pythonapi, "_Py_PackageContext")
        before, context.value = context.value, spec.name.encode()
        try:
            made = ctypes.PYFUNCTYPE(ctypes.py_object)(initialise)()
        finally:
            context.value = before
        if isinstance(made, types.ModuleType):
            made.__file__ = self.path
            return made
        # A definition is lent, and `ctypes` takes every result for its own.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        self._definition = made
        from_definition = ctypes.pythonapi.PyModule_FromDefAndSpec2
        from_definition.argtypes = [ctypes.py_object, ctypes.py_object, ctypes.c_int]
        from_definition.restype = ctypes.py_object
        return from_definition(made, spec, _PYTHON_API_VERSION)

    def exec_module(self, module):
        if hasattr(self, "_definition"):
            execute = ctypes.pythonapi.PyModule_ExecDef
            execute.argtypes, execute.restype = [ctypes.py_object, ctypes.py_object], ctypes.c_int
            execute(module, self._definition)


def install(library, folder):
    """Adds `folder`, with modules for macOS in it, to `sys.path`. `library` is the built example."""
    folder = os.path.abspath(folder)
    loader = type("DarwinLoader", (_Loader,), {"host": _Host(library)})
    major, minor = sys.version_info[:2]
    suffixes = [f".cpython-{major}{minor}-darwin.so", ".abi3.so"]
    hook = importlib.machinery.FileFinder.path_hook(
        (loader, suffixes),
        (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    )

    def only_there(path):
        if os.path.commonpath([folder, os.path.abspath(path)]) != folder:
            raise ImportError
        return hook(path)

    sys.path_hooks.insert(0, only_there)
    sys.path.insert(0, folder)
    sys.path_importer_cache.clear()
