#include <pybind11/gil_safe_call_once.h>

#include <exception>
#include <stdexcept>

#include "register.hpp"

namespace py = pybind11;

namespace {

// What the core refuses is wrong input, and the package has one kind of error for that. A py::value_error is not: it says that arrays
// do not fit together, which is a fault of the package's own.
void refuse_as_wrong_input(std::exception_ptr thrown) {
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> input_error;
    try {
        if (thrown) std::rethrow_exception(thrown);
    } catch (const std::invalid_argument& error) {
        input_error.call_once_and_store_result([] { return py::object(py::module_::import("karel_fast.support.checks").attr("InputError")); });
        py::set_error(input_error.get_stored(), error.what());
    }
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled core of karel_fast.";
    py::register_local_exception_translator(refuse_as_wrong_input);
    register_data(module);
    register_exact(module);
    register_execute(module);
    register_tokens(module);
}
