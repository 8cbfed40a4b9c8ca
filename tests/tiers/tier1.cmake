# Tier 1: spelling, linking, vectors.
tiers_test(test_spelling test_spelling.c)
tiers_test(test_tier1_link test_tier1_link.c store_fixture.c rdf_fixture.c)
tiers_test(test_vectors test_vectors.c store_fixture.c rdf_fixture.c ${tiers_faults}
           ${PROJECT_SOURCE_DIR}/tests/runtime/engine_fixture.c)
target_link_options(test_vectors PRIVATE ${STRATA_FAULT_OPTIONS})
foreach(name IN ITEMS test_tier1_link test_vectors) # what store_fixture.h needs
  target_link_options(${name} PRIVATE -Wl,--wrap=strata__store_hash -Wl,--wrap=strata__batch_full)
endforeach()
