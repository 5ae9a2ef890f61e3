# What the plug-in of ExecuTorch is built against: an installed wheel of it, or an installation of
# its own build (for Android).
#
# EXECUTORCH_DIR      the wheel's folder `executorch`, or the installation's prefix
# EXECUTORCH_VERSION  of it; not needed for a wheel, which says it
# EXECUTORCH_HEADERS  the include folder of a wheel, for headers that the installation lacks;
#                     optional
if(NOT EXECUTORCH_DIR)
  message(FATAL_ERROR "Give -DEXECUTORCH_DIR=, the folder of ExecuTorch.")
endif()
if(NOT EXECUTORCH_VERSION)
  set(EXECUTORCH_VERSION unknown)
  if(EXISTS "${EXECUTORCH_DIR}/version.py")
    file(STRINGS "${EXECUTORCH_DIR}/version.py" line REGEX "^__version__ *= *\"[0-9.]+")
    string(REGEX MATCH "[0-9]+[.0-9]*" EXECUTORCH_VERSION "${line}")
  endif()
endif()

target_sources(
  ${plugin} PRIVATE engines/executorch_errors.cpp engines/executorch_session.cpp)
target_compile_definitions(
  ${plugin}
  PRIVATE MVDEPLOY_EXECUTORCH_VERSION="${EXECUTORCH_VERSION}" C10_USING_CUSTOM_GENERATED_MACROS
          ET_USE_THREADPOOL)
# Its headers are not free of our warnings.
target_include_directories(
  ${plugin} SYSTEM
  PRIVATE "${EXECUTORCH_DIR}/include"
          "${EXECUTORCH_DIR}/include/executorch/runtime/core/portable_type/c10")
if(EXECUTORCH_HEADERS)
  # Behind the installation's own.
  target_include_directories(${plugin} SYSTEM AFTER PRIVATE "${EXECUTORCH_HEADERS}")
endif()

set(has_etdump OFF)

if(EXISTS "${EXECUTORCH_DIR}/lib/libexecutorch.so")
  # Its own targets need CMake 3.28.
  set(libraries executorch executorch_kernels_optimized executorch_kernels_quantized
                executorch_backend_xnnpack executorch_threadpool executorch_etdump)
  # Nothing of the kernels and delegates is called by name: they make themselves known when loaded.
  target_link_options(${plugin} PRIVATE -Wl,--no-as-needed)
  foreach(library ${libraries})
    # One library may hold several of them.
    set(file "${EXECUTORCH_DIR}/lib/lib${library}.so")
    if(EXISTS "${file}")
      target_link_libraries(${plugin} PRIVATE "${file}")
      file(STRINGS "${file}" symbols REGEX "6etdump9ETDumpGen" LIMIT_COUNT 1)
      if(symbols)
        set(has_etdump ON)
      endif()
    endif()
  endforeach()
else()
  # Static libraries; those that make themselves known say so to the linker in their own targets.
  find_package(executorch CONFIG REQUIRED PATHS "${EXECUTORCH_DIR}" NO_DEFAULT_PATH
               NO_CMAKE_FIND_ROOT_PATH)
  foreach(library executorch executorch_core extension_data_loader extension_threadpool
                  xnnpack_backend optimized_native_cpu_ops_lib quantized_ops_lib etdump flatccrt)
    if(TARGET ${library})
      target_link_libraries(${plugin} PRIVATE ${library})
    elseif(TARGET executorch::${library})
      target_link_libraries(${plugin} PRIVATE executorch::${library})
    endif()
  endforeach()
  if(TARGET etdump OR TARGET executorch::etdump)
    set(has_etdump ON)
  endif()
endif()

if(has_etdump)
  target_compile_definitions(${plugin} PRIVATE ET_EVENT_TRACER_ENABLED MVDEPLOY_ETDUMP)
else()
  message(STATUS "This ExecuTorch has no ETDump: its cases will have no breakdown.")
endif()
