# The CUDA backend: GTA_CUDA_BACKEND is empty (none), NVCC or HOST; target gta_cuda carries what every file needs for it.

add_library(gta_cuda INTERFACE)
set(GTA_CUDA_BACKEND "")

if(GTA_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER AND EXISTS /dev/nvidiactl)
    set(GTA_CUDA_BACKEND NVCC)
  endif()
elseif(GTA_CUDA STREQUAL "HOST")
  set(GTA_CUDA_BACKEND HOST)
elseif(GTA_CUDA)
  set(GTA_CUDA_BACKEND NVCC)
endif()

set(toolkit_hint "the CUDA Toolkit 13 (https://developer.nvidia.com/cuda-downloads; NVIDIA's package, Debian has none that is new enough)")

if(GTA_CUDA_BACKEND STREQUAL "NVCC")
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "GTA_CUDA=${GTA_CUDA} needs nvcc of ${toolkit_hint}, or set GTA_CUDA=OFF")
  endif()
  # A100 and H100/H200 as machine code, and PTX for what comes after them.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 80-virtual)
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know yet that nvcc has C++20.
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  find_package(CUDAToolkit 13 REQUIRED)
  target_compile_definitions(gta_cuda INTERFACE GTA_CUDA)
  # Debian's fmt 9 does not know what nvcc 13 can do at compile time.
  target_compile_definitions(gta_cuda INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:FMT_CONSTEVAL=;FMT_USE_CONSTEXPR=1>")
  # ptxas: a kernel that spills registers to memory is an error.
  target_compile_options(gta_cuda INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-unknown-pragmas;--expt-relaxed-constexpr;-Xptxas=--warn-on-spills,--warning-as-error>")
  target_link_libraries(gta_cuda INTERFACE CUDA::cudart CUDA::cublasLt)
endif()

if(GTA_CUDA_BACKEND STREQUAL "HOST")
  find_path(GTA_CUDA_INCLUDE_DIR cuda_runtime.h HINTS /usr/local/cuda/include ENV CUDA_HOME PATH_SUFFIXES include)
  if(NOT GTA_CUDA_INCLUDE_DIR)
    message(FATAL_ERROR "GTA_CUDA=HOST needs the headers of ${toolkit_hint}")
  endif()
  target_compile_definitions(gta_cuda INTERFACE GTA_CUDA GTA_CUDA_ON_HOST)
  target_include_directories(gta_cuda SYSTEM INTERFACE ${GTA_CUDA_INCLUDE_DIR})
  target_link_libraries(gta_cuda INTERFACE gta_host_cuda)
endif()

# How .cu files are compiled: by nvcc, or as C++ with the device built-ins of tests/host_cuda.
function(gta_cuda_sources)
  if(GTA_CUDA_BACKEND STREQUAL "HOST")
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-include;${CMAKE_SOURCE_DIR}/tests/host_cuda/host_cuda.h;-x;c++")
  endif()
endfunction()
