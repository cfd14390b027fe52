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

// Python handles signals on this thread alone; others would wait for the GIL and learn nothing.
inline bool on_main_thread() {
    return py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

// Calls work(interrupt) without the GIL; if the work says that it was interrupted, the pending exception is raised.
template <class Work>
void run_interruptibly(Work&& work) {
    bool finished = true;
    std::exception_ptr failure;
    const bool hears_signals = on_main_thread();
    PyThreadState* const state = PyEval_SaveThread();
    try {
        Interrupt interrupt([hears_signals] {
            if (interpreter_is_ending()) return true;
            if (!hears_signals) return false;
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
