#include "threads.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace karel {
namespace {

// Threads that are joined however their scope is left.
struct Pool {
    std::vector<std::thread> threads;
    ~Pool() {
        for (auto& thread : threads) thread.join();
    }
};

}  // namespace

bool parallel_for(std::int64_t count, std::int64_t grain, int threads, Interrupt& interrupt,
                  const std::function<void(std::int64_t, std::int64_t, const Worker&)>& work) {
    std::atomic<std::int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    std::atomic<std::int64_t> failed{count};  // the lowest range that failed

    const auto loop = [&](bool on_calling_thread) {
        const Worker worker{interrupt, on_calling_thread};
        while (!worker.stopped()) {
            const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= failed.load()) return;
            try {
                work(begin, std::min(begin + grain, count), worker);
            } catch (const Stopped&) {
                return;
            } catch (...) {
                const std::lock_guard lock(failure_mutex);
                if (begin >= failed.load()) return;
                failure = std::current_exception();
                failed.store(begin);
            }
        }
    };

    const std::int64_t pieces = (count + grain - 1) / grain;
    const auto helpers = static_cast<int>(std::min<std::int64_t>(threads, pieces)) - 1;
    {
        Pool pool;
        try {
            for (int t = 0; t < helpers; ++t) pool.threads.emplace_back(loop, false);
        } catch (const std::exception&) {
            // The machine gives no more threads: those that started do the work.
        }
        loop(true);
    }
    if (failure) std::rethrow_exception(failure);
    return next.load() >= count && !interrupt.stopped(false);
}

}  // namespace karel
