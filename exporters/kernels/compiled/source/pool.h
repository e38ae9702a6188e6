// A thread pool of our own: PyTorch's OpenMP runtime may be another one than the compiler's,
// and two of them would spin against each other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <unistd.h>

class Pool {
public:
    static Pool& instance() {
        // Never destroyed: its threads may outlive the statics of the process. A forked
        // child has none of its parent's threads and makes a pool of its own.
        static std::atomic<Pool*> pool{nullptr};
        static std::mutex guard;
        Pool* found = pool.load(std::memory_order_acquire);
        if (found != nullptr && found->owner_ == getpid()) return *found;
        std::lock_guard<std::mutex> lock(guard);
        found = pool.load(std::memory_order_acquire);
        if (found == nullptr || found->owner_ != getpid()) {
            found = new Pool();
            pool.store(found, std::memory_order_release);
        }
        return *found;
    }

    // Calls task(i) for i in [0, count), on at most `threads` threads, in any order.
    void run(int64_t count, int threads, const std::function<void(int64_t)>& task) {
        if (threads > count) threads = static_cast<int>(count);
        if (threads <= 1) {
            for (int64_t i = 0; i < count; ++i) task(i);
            return;
        }
        std::lock_guard<std::mutex> one_at_a_time(run_);
        grow(threads - 1);
        task_ = &task;
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
        wanted_ = threads - 1;
        pending_.store(static_cast<int>(workers_), std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work();
        for (int waited = 0; pending_.load(std::memory_order_acquire) != 0; ++waited) pause(waited);
    }

private:
    Pool() : owner_(getpid()) {}

    // A short wait keeps neighbouring layers together. Only its first part spins: on a busy machine
    // the thread that is waited for may have lost its core, and spinning on would take ours from
    // others and count as work of this process.
    static constexpr int kSpins = 200, kWaits = 1000;

    static void pause(int waited) {
#if defined(__x86_64__)
        if (waited < kSpins) {
            __builtin_ia32_pause();
            return;
        }
#endif
        std::this_thread::yield();
    }

    void grow(int workers) {
        for (; workers_ < workers; ++workers_) {
            const uint64_t seen = generation_.load(std::memory_order_acquire);
            const int index = workers_;
            std::thread([this, seen, index] { serve(seen, index); }).detach();
        }
    }

    void work() {
        for (;;) {
            const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
            if (i >= count_) return;
            (*task_)(i);
        }
    }

    void serve(uint64_t seen, int index) {
        for (;;) {
            // Longer waits give the core back.
            for (int waited = 0;
                 waited < kWaits && generation_.load(std::memory_order_acquire) == seen; ++waited) {
                pause(waited);
            }
            if (generation_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] {
                    return generation_.load(std::memory_order_acquire) != seen;
                });
            }
            seen = generation_.load(std::memory_order_acquire);
            if (index < wanted_) work();
            pending_.fetch_sub(1, std::memory_order_release);
        }
    }

    const pid_t owner_;
    std::mutex run_, mutex_;
    std::condition_variable wake_;
    std::atomic<uint64_t> generation_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<int> pending_{0};
    const std::function<void(int64_t)>* task_ = nullptr;
    int64_t count_ = 0;
    int wanted_ = 0;
    int workers_ = 0;
};
