// Ctrl-C reaches work that runs without the GIL.
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <thread>

#include "../karel/threads.hpp"

namespace karel::bindings {

namespace py = pybind11;

inline bool interpreter_is_ending() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

// Calls work(interrupt) without the GIL; if the work says that it was interrupted, the pending exception is raised.
template <class Work>
void run_interruptibly(Work&& work) {
    bool finished = true;
    std::exception_ptr failure;
    PyThreadState* const state = PyEval_SaveThread();
    try {
        Interrupt interrupt([] {
            if (interpreter_is_ending()) return true;
            const py::gil_scoped_acquire acquire;
            return PyErr_CheckSignals() != 0;
        });
        finished = work(interrupt);
    } catch (...) {
        failure = std::current_exception();
    }
    // A daemon thread that asks an ending interpreter for the GIL would be ended by force, in the middle of C++ frames. It
    // waits for the end of the process instead, as Python 3.14 has it do.
    while (interpreter_is_ending()) std::this_thread::sleep_for(std::chrono::hours(1));
    PyEval_RestoreThread(state);
    // What was pressed goes before what went wrong.
    if (failure && !PyErr_Occurred()) std::rethrow_exception(failure);
    if (!finished || failure) throw py::error_already_set();
}

}  // namespace karel::bindings
