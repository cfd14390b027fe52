// Runs a function over index ranges on several threads, and stops early when asked.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace karel {

// How long work is stopped from outside: `poll` is called on the calling thread only, a few times a second, and says
// whether to stop; the other threads see `stop`.
class Interrupt {
public:
    explicit Interrupt(std::function<bool()> poll) : poll_(std::move(poll)) {}

    // Called on every thread between pieces of work; cheap.
    bool stopped(bool on_calling_thread) {
        if (on_calling_thread && poll_ && !stop_.load(std::memory_order_relaxed)) {
            const auto now = Clock::now();
            if (now - last_poll_ > std::chrono::milliseconds(50)) {
                last_poll_ = now;
                if (poll_()) stop();
            }
        }
        return stop_.load(std::memory_order_relaxed);
    }
    void stop() { stop_.store(true, std::memory_order_relaxed); }

private:
    using Clock = std::chrono::steady_clock;
    std::function<bool()> poll_;
    Clock::time_point last_poll_ = Clock::now();
    std::atomic<bool> stop_{false};
};

// Ends a piece of interrupted work from within; `parallel_for` catches it.
struct Stopped {};

// What a kernel may ask about the thread it runs on.
struct Worker {
    Interrupt& interrupt;
    bool on_calling_thread;

    bool stopped() const { return interrupt.stopped(on_calling_thread); }
    // Throws Stopped if the work was interrupted.
    void check() const {
        if (stopped()) throw Stopped{};
    }
};

// Calls work(begin, end, worker) for ranges of at most `grain` indices that cover 0..count, on at most `threads` threads,
// the calling one included. Returns false if it was interrupted; rethrows the exception of the lowest range that has one, so that
// what is said does not depend on the threads.
bool parallel_for(std::int64_t count, std::int64_t grain, int threads, Interrupt& interrupt,
                  const std::function<void(std::int64_t, std::int64_t, const Worker&)>& work);

}  // namespace karel
