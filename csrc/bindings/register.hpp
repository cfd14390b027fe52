#pragma once
#include <pybind11/pybind11.h>

void register_data(pybind11::module_& module);
void register_exact(pybind11::module_& module);
void register_execute(pybind11::module_& module);
void register_tokens(pybind11::module_& module);
