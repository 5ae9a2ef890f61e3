# The plug-in of ONNX Runtime opens the library when it is started, and needs nothing of it to be
# built.
#
# ONNXRUNTIME_INCLUDE_DIR  folder of onnxruntime_c_api.h, to check what the plug-in takes for
#                          granted; optional
target_sources(${plugin} PRIVATE dtypes.c)
if(ONNXRUNTIME_INCLUDE_DIR)
  target_sources(${plugin} PRIVATE engines/onnxruntime_check.c)
  target_include_directories(${plugin} SYSTEM PRIVATE "${ONNXRUNTIME_INCLUDE_DIR}")
endif()
