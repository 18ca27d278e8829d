// Threads, futures, a latch, a pool of workers and what an exception does across them.
#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <iostream>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <thread>
#include <vector>

class Pool {
    std::mutex lock;
    std::condition_variable_any wake;
    std::queue<std::function<void()>> jobs;
    std::vector<std::jthread> threads;

public:
    explicit Pool(int count) {
        for (int i = 0; i < count; i++)
            threads.emplace_back([this](std::stop_token stop) {
                for (std::unique_lock guard(lock);;) {
                    if (!wake.wait(guard, stop, [this] { return !jobs.empty(); })) return;
                    auto job = std::move(jobs.front());
                    jobs.pop();
                    guard.unlock(), job(), guard.lock();
                }
            });
    }
    template <typename F> auto submit(F work) {
        auto task = std::make_shared<std::packaged_task<decltype(work())()>>(std::move(work));
        std::lock_guard guard(lock);
        jobs.push([task] { (*task)(); });
        wake.notify_one();
        return task->get_future();
    }
};

int main() {
    std::vector<std::future<long>> sums;
    {
        Pool pool(3);
        for (long i = 0; i < 8; i++)
            sums.push_back(pool.submit([i] {
                if (i == 5) throw std::domain_error("no fives");
                std::vector<long> v(10000);
                std::iota(v.begin(), v.end(), i);
                return std::accumulate(v.begin(), v.end(), 0L);
            }));
        for (auto &sum : sums) sum.wait();
    }
    for (auto &sum : sums)
        try { std::cout << sum.get() << ' '; } catch (const std::exception &e) { std::cout << '(' << e.what() << ") "; }
    std::atomic<int> count = 0;
    std::latch ready(4);
    {
        std::vector<std::jthread> many;
        for (int i = 0; i < 4; i++)
            many.emplace_back([&] { ready.arrive_and_wait(); for (int j = 0; j < 25000; j++) ++count; });
    }
    auto where = std::async(std::launch::deferred, [] { return std::this_thread::get_id(); });
    std::cout << '\n' << count << ' ' << std::async(std::launch::async, [] { return 6 * 7; }).get() << '\n'
              << std::boolalpha << (where.get() == std::this_thread::get_id()) << '\n';
}
