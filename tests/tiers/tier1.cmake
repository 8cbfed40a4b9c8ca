# Tiers 1 and 2: spelling, linking, vectors, phrases.
tiers_test(test_spelling test_spelling.c)
tiers_test(test_tier1_link test_tier1_link.c store_fixture.c rdf_fixture.c)
tiers_test(test_mention_cache test_mention_cache.c)
foreach(name IN ITEMS test_vectors test_vectors_faults test_tier1_memory test_tier1_together test_tier2
             test_embed_queue test_bad_queries)
  tiers_test(${name} ${name}.c vectors_fixture.c store_fixture.c rdf_fixture.c ${tiers_faults}
             ${PROJECT_SOURCE_DIR}/tests/runtime/engine_fixture.c)
  target_link_options(${name} PRIVATE ${STRATA_FAULT_OPTIONS})
endforeach()
foreach(name IN ITEMS test_tier1_link test_vectors test_vectors_faults test_tier1_memory
             test_tier1_together test_tier2 test_embed_queue test_bad_queries) # what store_fixture.h needs
  target_link_options(${name} PRIVATE -Wl,--wrap=strata__store_hash -Wl,--wrap=strata__batch_full)
endforeach()
target_sources(test_tier2 PRIVATE tier2_fixture.c)
foreach(name IN ITEMS test_tier1_together test_tier2 test_embed_queue)
  target_link_options(${name} PRIVATE -Wl,--wrap=strata_embed)
endforeach()
if(NOT STRATA_SANITIZE AND NOT CMAKE_CROSSCOMPILING) # Python does not load a library that needs a sanitizer's
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  foreach(name IN ITEMS fit_tier1 fit_tier2)
    add_test(NAME test_${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/test_${name}.py
                                       ${PROJECT_SOURCE_DIR}/tiers/${name} $<TARGET_FILE:strata_shared>
                                       ${CMAKE_C_COMPILER} ${PROJECT_SOURCE_DIR}/tiers)
    set_tests_properties(test_${name} PROPERTIES SKIP_RETURN_CODE 77)
  endforeach()
endif()
