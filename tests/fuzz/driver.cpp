// Stands in for libFuzzer where there is none: every file of a corpus, and as many mutations of them as are asked for, always
// the same ones. usage: TARGET FOLDER MUTATIONS
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

Input current;

// What ends the process leaves the input behind, as libFuzzer does.
void keep() {
    std::ofstream("crash", std::ios::binary).write(reinterpret_cast<const char*>(current.data()), static_cast<std::streamsize>(current.size()));
    std::cerr << "the input is in the file `crash`\n";
}

Input mutated(const std::vector<Input>& corpus, std::mt19937_64& dice) {
    const auto below = [&](std::size_t end) { return static_cast<std::size_t>(dice() % end); };
    Input input = corpus[below(corpus.size())];
    for (std::size_t times = 1 + below(8); times > 0; --times) {
        const std::size_t at = below(input.size() + 1);
        const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(5)) {
            case 0: input.insert(place, static_cast<std::uint8_t>(dice())); break;
            case 1: if (at < input.size()) input.erase(place); break;
            case 2: if (at < input.size()) *place = static_cast<std::uint8_t>(dice()); break;
            case 3: if (at < input.size()) *place ^= static_cast<std::uint8_t>(1u << below(8)); break;
            default: {  // the rest of another
                const Input& other = corpus[below(corpus.size())];
                input.resize(at);
                if (at < other.size()) input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
            }
        }
    }
    return input;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return std::cerr << "usage: TARGET FOLDER MUTATIONS\n", 2;
    std::vector<Input> corpus;
    std::vector<std::filesystem::path> paths(std::filesystem::directory_iterator{arguments[1]}, {});
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    if (corpus.empty()) return std::cerr << "no corpus in " << arguments[1] << "\n", 2;
    std::signal(SIGABRT, [](int) { keep(); });
    for (const Input& input : corpus) LLVMFuzzerTestOneInput((current = input).data(), input.size());
    std::mt19937_64 dice(0);
    const long mutations = std::atol(arguments[2]);
    for (long k = 0; k < mutations; ++k) {
        current = mutated(corpus, dice);
        LLVMFuzzerTestOneInput(current.data(), current.size());
    }
    std::cout << corpus.size() << " files and " << mutations << " mutations of them\n";
}
