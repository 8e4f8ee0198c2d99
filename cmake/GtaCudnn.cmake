# cuDNN's attention, beside which ours is tested and timed (bench/cudnn_attention): GTA_CUDNN_FOUND and target gta_cudnn. Headers are all that a
# build takes: libcudnn is opened when it is first used, by the frontend's own loader.

add_library(gta_cudnn INTERFACE)
set(GTA_CUDNN_FOUND OFF)

set(cudnn_missing)
if(NOT GTA_CUDA_BACKEND STREQUAL "NVCC")
  set(cudnn_missing "a build with nvcc (GTA_CUDA=ON)")
else()
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${CMAKE_SOURCE_DIR}/build/cudnn_frontend/include)
  if(NOT CUDNN_INCLUDE_DIR)
    set(cudnn_missing "cudnn.h of cuDNN 9 (https://developer.nvidia.com/cudnn-downloads, or CUDNN_INCLUDE_DIR=FOLDER)")
  elseif(NOT CUDNN_FRONTEND_INCLUDE_DIR)
    set(cudnn_missing "cudnn_frontend.h (launch/install_cudnn_frontend, or CUDNN_FRONTEND_INCLUDE_DIR=FOLDER)")
  endif()
endif()

if(NOT GTA_CUDNN STREQUAL "AUTO" AND GTA_CUDNN AND cudnn_missing)
  message(FATAL_ERROR "GTA_CUDNN=${GTA_CUDNN} needs ${cudnn_missing}, or set GTA_CUDNN=OFF")
endif()
if(GTA_CUDNN AND NOT cudnn_missing)
  set(GTA_CUDNN_FOUND ON)
  target_include_directories(gta_cudnn SYSTEM INTERFACE ${CUDNN_INCLUDE_DIR} ${CUDNN_FRONTEND_INCLUDE_DIR})
  target_compile_definitions(gta_cudnn INTERFACE NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING CUDNN_FRONTEND_SKIP_JSON_LIB)
  target_link_libraries(gta_cudnn INTERFACE ${CMAKE_DL_LIBS})
endif()
