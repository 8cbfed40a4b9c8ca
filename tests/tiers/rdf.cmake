# tiers_test(NAME SOURCE...): a strata_test of the floor tiers/.
function(tiers_test name)
  strata_test(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE strata_tiers)
endfunction()

tiers_test(test_terms test_terms.c)
tiers_test(test_values test_values.c)
tiers_test(test_rdf_ntriples test_rdf_ntriples.c rdf_fixture.c)
tiers_test(test_rdf_turtle test_rdf_turtle.c rdf_fixture.c)
tiers_test(test_rdf_files test_rdf_files.c rdf_fixture.c)
target_link_options(test_rdf_files PRIVATE -Wl,--wrap=read)
