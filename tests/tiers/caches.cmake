# Caches: a trace replayed, as a program of its own; its slice is a test.
add_executable(cache_trace cache_trace.c cache_policies.c)
target_link_libraries(cache_trace PRIVATE strata_tiers strata_runtime strata_kernels m)
add_test(NAME test_cache_trace COMMAND sh -c
         "rm -rf cache_trace.tmp && $<TARGET_FILE:cache_trace> cache_trace.tmp 20000 4000; status=$?; rm -rf cache_trace.tmp; exit $status")
set_tests_properties(test_cache_trace PROPERTIES TIMEOUT 300)

tiers_test(test_cache_levels test_cache_levels.c cache_fixture.c)
