// harness.h over Google Benchmark.
#include "harness.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

namespace
{

// A benchmark of the next run.
struct entry {
    struct bench bench;
    std::atomic<bool> failed{false}; // to be set up
    std::atomic<bool> broken{false}; // a batch, which has said why
};

std::map<std::string, std::unique_ptr<entry>> &entries()
{
    static std::map<std::string, std::unique_ptr<entry>> all;
    return all;
}

void run_batches(benchmark::State &state, entry *entry, void *work)
{
    const unsigned times = entry->bench.batch(work);
    while (state.KeepRunningBatch(times)) {
        double seconds = entry->bench.run_batch(work, times);
        if (seconds < 0) {
            entry->broken = true;
            state.SkipWithError("failed");
            return;
        }
        state.SetIterationTime(seconds);
    }
}

void measure(benchmark::State &state, entry *entry)
{
    const struct bench &bench = entry->bench;
    void *work = bench.setup(bench.arg, state.thread_index(), state.threads());
    if (!work) {
        entry->failed = true;
        state.SkipWithError("out of memory");
    }
    if (work && bench.run_batch)
        run_batches(state, entry, work);
    else
        for (auto _ : state)
            bench.run(work);
    if (!work)
        return;
    bench.teardown(work);
    // Counters are summed over the threads and divided by the sum of their processor times.
    double runs = static_cast<double>(state.iterations()) * state.threads();
    auto rate = [&](const char *name, double amount) {
        if (amount > 0)
            state.counters[name] = benchmark::Counter(amount * runs, benchmark::Counter::kIsRate);
    };
    rate("bytes_per_s", bench.bytes);
    rate("ops_per_s", bench.ops);
    rate("of_roofline", bench.ideal_s / state.threads());
}

// Keeps the best rates, and hands runs on to the reporter that prints, if there is one: all of them
// as JSON; as text only the statistics when there are several repetitions.
class recorder : public benchmark::BenchmarkReporter
{
  public:
    recorder(benchmark::BenchmarkReporter *printer, bool statistics_only)
        : printer_(printer), statistics_only_(statistics_only)
    {
    }

    bool ReportContext(const Context &context) override
    {
        return !printer_ || printer_->ReportContext(context);
    }

    void ReportRuns(const std::vector<Run> &runs) override
    {
        std::vector<Run> shown;
        for (const Run &run : runs) {
            if (run.run_type == Run::RT_Iteration)
                keep_best(run);
            if (run.run_type == Run::RT_Aggregate || !statistics_only_)
                shown.push_back(run);
        }
        for (Run &run : shown) {
            run.run_name.time_type.clear(); // "manual_time" would be a part of the name
            auto fraction = run.counters.find("of_roofline");
            if (fraction != run.counters.end()) // a fraction has no unit
                fraction->second.flags = benchmark::Counter::kDefaults;
        }
        if (printer_ && !shown.empty())
            printer_->ReportRuns(shown);
    }

    void Finalize() override
    {
        if (printer_)
            printer_->Finalize();
    }

  private:
    static void keep_best(const Run &run)
    {
        auto found = entries().find(run.run_name.function_name);
        if (found == entries().end() || !found->second->bench.best)
            return;
        auto keep = [&](const char *name, double *best) {
            auto counter = run.counters.find(name);
            if (counter != run.counters.end())
                *best = std::max(*best, counter->second.value);
        };
        keep("bytes_per_s", &found->second->bench.best->bytes_per_s);
        keep("ops_per_s", &found->second->bench.best->ops_per_s);
    }

    benchmark::BenchmarkReporter *printer_;
    bool statistics_only_;
};

std::unique_ptr<benchmark::BenchmarkReporter> make_printer(enum bench_output output)
{
    if (output == BENCH_TEXT)
        return std::make_unique<benchmark::ConsoleReporter>(benchmark::ConsoleReporter::OO_Tabular);
    if (output == BENCH_JSON)
        return std::make_unique<benchmark::JSONReporter>();
    return nullptr;
}

// Durations and repetitions go in as options: set on a benchmark they would become part of its
// name.
void set_options(const struct bench_run *how)
{
    static char program[] = "strata-bench"; // Google Benchmark keeps the pointer
    std::string time = "--benchmark_min_time=" + std::to_string(how->min_seconds);
    std::string repetitions = "--benchmark_repetitions=" + std::to_string(how->repetitions);
    char *argv[] = {program, time.data(), repetitions.data(), nullptr};
    int argc = 3;
    benchmark::Initialize(&argc, argv);
}

} // namespace

void bench_add(const struct bench *bench)
{
    auto added = std::make_unique<entry>();
    entry *at = added.get();
    at->bench = *bench;
    auto place = entries().emplace(bench->name, std::move(added)).first;
    at->bench.name = place->first.c_str();
    auto *made = benchmark::RegisterBenchmark(at->bench.name, measure, at);
    if (bench->run_batch)
        made->UseManualTime();
    if (bench->threads > 1)
        made->Threads(bench->threads);
}

void bench_describe(const char *key, const char *value)
{
    benchmark::AddCustomContext(key, value);
}

bool bench_run(const struct bench_run *how)
{
    set_options(how);
    auto printer = make_printer(how->output);
    recorder all(printer.get(), how->output == BENCH_TEXT && how->repetitions > 1);
    bool done = true;
    benchmark::RunSpecifiedBenchmarks(&all, ".");
    for (const auto &item : entries())
        if (item.second->failed || item.second->broken) {
            if (item.second->failed)
                std::fprintf(stderr, "strata-bench: %s: out of memory\n", item.first.c_str());
            done = false;
        }
    benchmark::ClearRegisteredBenchmarks();
    entries().clear();
    return done;
}
