# tiers_test(NAME SOURCE...): a strata_test of the floor tiers/.
function(tiers_test name)
  strata_test(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE strata_tiers)
endfunction()

tiers_test(test_radix_sort test_radix_sort.c)
tiers_test(test_terms test_terms.c)
tiers_test(test_values test_values.c)
tiers_test(test_rdf_ntriples test_rdf_ntriples.c rdf_fixture.c)
tiers_test(test_rdf_turtle test_rdf_turtle.c rdf_fixture.c)
tiers_test(test_rdf_files test_rdf_files.c rdf_fixture.c)
target_link_options(test_rdf_files PRIVATE -Wl,--wrap=read)
# Hashes of terms and the size of batches are the tests' own (store_fixture.h).
foreach(name IN ITEMS test_store_check test_store_find test_store_import test_store_rows
        test_store_terms)
  tiers_test(${name} ${name}.c store_fixture.c rdf_fixture.c)
  target_link_options(${name} PRIVATE -Wl,--wrap=strata__store_hash -Wl,--wrap=strata__batch_full)
endforeach()
