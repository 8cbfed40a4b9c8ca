# Stores of facts when calls fail, processes are killed and power is lost.
set(tiers_faults ${PROJECT_SOURCE_DIR}/tests/runtime/faults.c)

# facts_program(NAME SOURCE...): a program of its own that uses stores.
function(facts_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE strata_tiers strata_runtime strata_kernels)
endfunction()

facts_program(facts_writer facts_writer.c change_script.c disk_log.c disk_calls.c)
facts_program(facts_kill facts_kill.c change_script.c)
facts_program(facts_images facts_images.c change_script.c)

# Slices of what `tools/soak` runs for long; it also demands that planted faults are found.
foreach(name kill images)
  add_test(NAME test_facts_${name} COMMAND ${PROJECT_SOURCE_DIR}/tools/soak -b ${PROJECT_BINARY_DIR} -n 150
                                           facts-${name})
  set_tests_properties(test_facts_${name} PROPERTIES TIMEOUT 300)
endforeach()

# facts_test(NAME SOURCE...): a strata_fault_test whose calls on files of shared libraries can fail too.
function(facts_test name)
  strata_test(${name} ${ARGN} fault_fixture.c change_script.c disk_calls.c ${tiers_faults})
  target_link_libraries(${name} PRIVATE strata_tiers)
  target_link_options(${name} PRIVATE ${STRATA_FAULT_OPTIONS})
endfunction()

facts_test(test_facts_faults test_facts_faults.c library_memory.c)
if(STRATA_SANITIZE) # they have allocations in their own hands
  target_compile_definitions(test_facts_faults PRIVATE SANITIZED)
endif()
facts_test(test_facts_growth test_facts_growth.c)
facts_test(test_facts_shared test_facts_shared.c)
target_compile_definitions(test_facts_shared PRIVATE FACTS_WRITER="$<TARGET_FILE:facts_writer>")
add_dependencies(test_facts_shared facts_writer)
