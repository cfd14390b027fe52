#include "register.hpp"

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled core of karel_fast.";
    register_data(module);
    register_exact(module);
    register_execute(module);
    register_tokens(module);
}
