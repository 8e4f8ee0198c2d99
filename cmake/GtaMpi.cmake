# MPI, for trainings of several ranks: GTA_MPI_FOUND and target gta_mpi, which core/comm alone links.
# Another MPI than the system's: -DMPI_C_COMPILER=mpicc.mpich

add_library(gta_mpi INTERFACE)
set(GTA_MPI_FOUND OFF)
if(GTA_MPI)
  find_package(MPI COMPONENTS C)
  if(MPI_C_FOUND)
    set(GTA_MPI_FOUND ON)
    target_compile_definitions(gta_mpi INTERFACE GTA_MPI)
    target_link_libraries(gta_mpi INTERFACE MPI::MPI_C)
  elseif(NOT GTA_MPI STREQUAL "AUTO")
    message(FATAL_ERROR "GTA_MPI=${GTA_MPI} needs an MPI (Debian: openmpi-bin libopenmpi-dev), or set GTA_MPI=OFF")
  else()
    message(STATUS "without MPI: a training has one rank (Debian: openmpi-bin libopenmpi-dev)")
  endif()
endif()
