# Caches: a trace replayed, as a program of its own; its slice is a test.
add_executable(cache_trace cache_trace.c cache_policies.c)
target_link_libraries(cache_trace PRIVATE strata_tiers strata_runtime strata_kernels m)
add_test(NAME test_cache_trace COMMAND sh -c
         "rm -rf cache_trace.tmp && $<TARGET_FILE:cache_trace> cache_trace.tmp 20000 4000; status=$?; rm -rf cache_trace.tmp; exit $status")
set_tests_properties(test_cache_trace PROPERTIES TIMEOUT 300)

tiers_test(test_cache_levels test_cache_levels.c cache_fixture.c)
tiers_test(test_cache_disk test_cache_disk.c cache_fixture.c)
tiers_test(test_facts_cache test_facts_cache.c cache_fixture.c)
tiers_test(test_facts_cache_faults test_facts_cache_faults.c cache_fixture.c disk_calls.c
           ${PROJECT_SOURCE_DIR}/tests/runtime/faults.c)
target_link_options(test_facts_cache_faults PRIVATE ${STRATA_FAULT_OPTIONS})
tiers_test(test_answer_cache test_answer_cache.c tier2_fixture.c vectors_fixture.c store_fixture.c rdf_fixture.c
           ${PROJECT_SOURCE_DIR}/tests/runtime/faults.c ${PROJECT_SOURCE_DIR}/tests/runtime/engine_fixture.c)
target_link_options(test_answer_cache PRIVATE ${STRATA_FAULT_OPTIONS} -Wl,--wrap=strata__store_hash
                    -Wl,--wrap=strata__batch_full -Wl,--wrap=strata_embed
                    -Wl,--wrap=strata__predict)
