# Tiers 1 to 3: spelling, linking, vectors, phrases, questions.
tiers_test(test_spelling test_spelling.c)
tiers_test(test_tier1_link test_tier1_link.c store_fixture.c rdf_fixture.c)
tiers_test(test_mention_cache test_mention_cache.c)
tiers_test(test_tier3_align test_tier3_align.c)
set(tier3_tests test_tier3 test_tier3_units test_tier3_time test_tier3_faults)
foreach(name IN ITEMS test_vectors test_vectors_faults test_tier1_memory test_tier1_together test_tier2
        test_tier2_lm test_embed_queue test_bad_queries ${tier3_tests})
  tiers_test(${name} ${name}.c vectors_fixture.c store_fixture.c rdf_fixture.c ${tiers_faults}
             ${PROJECT_SOURCE_DIR}/tests/runtime/engine_fixture.c)
  target_link_options(${name} PRIVATE ${STRATA_FAULT_OPTIONS})
endforeach()
foreach(name IN ITEMS test_tier1_link test_vectors test_vectors_faults test_tier1_memory
             test_tier1_together test_tier2 test_tier2_lm test_embed_queue test_bad_queries
             ${tier3_tests}) # what store_fixture.h needs
  target_link_options(${name} PRIVATE -Wl,--wrap=strata__store_hash -Wl,--wrap=strata__batch_full)
endforeach()
target_sources(test_tier2 PRIVATE tier2_fixture.c)
target_sources(test_tier2_lm PRIVATE tier2_fixture.c)
target_link_options(test_tier2_lm PRIVATE -Wl,--wrap=strata__predicate_lm_score)
foreach(name IN LISTS tier3_tests)
  target_sources(${name} PRIVATE tier2_fixture.c tier3_fixture.c)
endforeach()
foreach(name IN ITEMS test_tier1_together test_tier2 test_tier2_lm test_embed_queue ${tier3_tests})
  target_link_options(${name} PRIVATE -Wl,--wrap=strata_embed)
endforeach()
target_link_options(test_tier3_time PRIVATE -Wl,--wrap=clock_gettime) # a clock of its own
if(NOT STRATA_SANITIZE AND NOT CMAKE_CROSSCOMPILING) # Python does not load a library that needs a sanitizer's
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  foreach(name IN ITEMS fit_tier1 fit_tier2 fit_tier3)
    add_test(NAME test_${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/test_${name}.py
                                       ${PROJECT_SOURCE_DIR}/tiers/${name} $<TARGET_FILE:strata_shared>
                                       ${CMAKE_C_COMPILER} ${PROJECT_SOURCE_DIR}/tiers)
    set_tests_properties(test_${name} PROPERTIES SKIP_RETURN_CODE 77)
  endforeach()
  add_test(NAME test_graph2 COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/graph2/test_graph2.py
                                    $<TARGET_FILE:strata>)
  set_tests_properties(test_graph2 PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
endif()
