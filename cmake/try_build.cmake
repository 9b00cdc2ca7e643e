# Configures and builds SOURCE in BINARY with products in OUTPUT; sets REASON to one line saying what failed, or to "".
function(rfaconv_try_build source binary output reason)
  set(log "${binary}.log")
  file(MAKE_DIRECTORY "${binary}" "${output}")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -S "${source}" -B "${binary}" -G "${CMAKE_GENERATOR}"
            "-DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM}" -DCMAKE_BUILD_TYPE=Release "-DRFACONV_OUTPUT_DIR=${output}"
    RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  set(step "configuration")
  if(status EQUAL 0)
    set(step "compilation")
    execute_process(COMMAND "${CMAKE_COMMAND}" --build "${binary}" --parallel
      RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  endif()
  file(WRITE "${log}" "${text}")
  if(status EQUAL 0)
    set(${reason} "" PARENT_SCOPE)
    return()
  endif()
  message(STATUS "${text}")
  # The first thing called an error, without the place in CMake's own modules that reports it.
  string(REGEX REPLACE "[\r;]" "" text "${text}")
  string(REGEX REPLACE "CMake Error at [^\n]*:\n+" "error: " text "${text}")
  string(REGEX MATCH "[^\n]*[Ee]rror[^\n]*(\n+[^\n]+)?(\n+[^\n]+)?(\n+[^\n]+)?" line "${text}")
  string(REGEX REPLACE "[\n ]+" " " line "${line}")
  string(STRIP "${line}" line)
  string(SUBSTRING "${line}" 0 400 line)
  set(${reason} "the ${step} of the C++ kernels failed: ${line}" PARENT_SCOPE)
endfunction()
