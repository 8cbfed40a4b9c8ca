# cmake -D "SOURCES=A;B" -D OUT=HEADER -P sources_hash.cmake: a header with a number that other sources have another of.
set(all "")
foreach(source IN LISTS SOURCES)
  file(SHA256 ${source} hash)
  string(APPEND all ${hash})
endforeach()
string(SHA256 hash "${all}")
string(SUBSTRING ${hash} 0 16 hash)
file(CONFIGURE OUTPUT ${OUT} CONTENT "/* What the files of caches are of: these sources. */
#define STRATA__TIERS_SOURCES UINT64_C(0x${hash})
")
