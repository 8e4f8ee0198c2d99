# Compile options of every target, and gta_library(): one static library from all sources below the current folder.

find_package(fmt REQUIRED)
find_package(Threads REQUIRED)
if(GTA_OPENMP)
  find_package(OpenMP REQUIRED)
endif()

add_library(gta_options INTERFACE)
target_include_directories(gta_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(gta_options INTERFACE -Wall -Wextra -Werror=return-type -Wno-unknown-pragmas -march=${GTA_ARCH} -fno-math-errno
                                             -fno-trapping-math)
target_link_libraries(gta_options INTERFACE fmt::fmt Threads::Threads)
if(GTA_OPENMP)
  target_link_libraries(gta_options INTERFACE OpenMP::OpenMP_CXX)
else()
  # The simd pragmas need no runtime and stay.
  target_compile_options(gta_options INTERFACE -fopenmp-simd)
endif()
if(GTA_SANITIZE)
  target_compile_options(gta_options INTERFACE -fsanitize=${GTA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(gta_options INTERFACE -fsanitize=${GTA_SANITIZE})
  target_sources(gta_options INTERFACE ${CMAKE_SOURCE_DIR}/cmake/sanitizer_options.cpp)
endif()

# gta_library(core DEPENDS ... LIBRARIES ...)  ->  target gta_core, linked to gta_DEPENDS publicly and to LIBRARIES privately
function(gta_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(path ${ARG_EXCLUDE})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${path})
  endforeach()
  add_library(gta_${name} STATIC ${sources})
  target_link_libraries(gta_${name} PUBLIC gta_options)
  foreach(dependency ${ARG_DEPENDS})
    target_link_libraries(gta_${name} PUBLIC gta_${dependency})
  endforeach()
  target_link_libraries(gta_${name} PRIVATE ${ARG_LIBRARIES})
endfunction()
