# gta_commit_header(TARGET): its sources may include <commit.h>, which names the commit being built, not that of the
# configuration before it.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  function(gta_commit_header target)
    set(header ${CMAKE_CURRENT_BINARY_DIR}/generated/commit.h)
    add_custom_target(${target}_commit BYPRODUCTS ${header}
                      COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DHEADER=${header}
                              -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
    add_dependencies(${target} ${target}_commit)
    target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
  endfunction()
  return()
endif()

# As a script it writes that header. It runs at every build, and changes the header only when the name has changed:
#   cmake -DSOURCE=FOLDER -DHEADER=FILE -P Commit.cmake
# "-dirty": something in the tree, an untracked file too, is not in that commit. "unknown" where SOURCE is no repository's own folder.
function(git_output result)
  execute_process(COMMAND git --no-optional-locks ${ARGN} WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE text RESULT_VARIABLE failed
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(${result} "${text}" PARENT_SCOPE)
  set(failed ${failed} PARENT_SCOPE)
endfunction()

git_output(folder_in_repository rev-parse --show-prefix)
set(commit unknown)
if(failed EQUAL 0 AND folder_in_repository STREQUAL "")
  git_output(commit rev-parse --short HEAD)
  git_output(changes status --porcelain)
  if(NOT changes STREQUAL "")
    string(APPEND commit "-dirty")
  endif()
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define GTA_COMMIT \"${commit}\"\n")
