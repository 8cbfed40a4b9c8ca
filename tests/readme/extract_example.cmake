# Writes the C block that follows README's "<!-- example:" mark to OUT.
file(READ ${README} text)
string(REGEX REPLACE ";" "\\\\;" text "${text}")
if(NOT text MATCHES "<!-- example:[^\n]*\n```c\n(.*)")
  message(FATAL_ERROR "${README}: no example after '<!-- example:'")
endif()
string(REGEX REPLACE "\n```.*" "\n" text "${CMAKE_MATCH_1}")
string(REPLACE "\\;" ";" text "${text}")
file(WRITE ${OUT} "${text}")
