# The CMakeLists.txt of a program outside this tree; test_install copies it beside consumer.c.
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(strata 0.1 REQUIRED)
add_executable(consumer_shared consumer.c)
target_link_libraries(consumer_shared PRIVATE strata::strata)
add_executable(consumer_static consumer.c)
target_link_libraries(consumer_static PRIVATE strata::strata_static)
