# The plug-in of LiteRT opens the library when it is started, and needs nothing of it to be built.
#
# LITERT_VERSION  of the library, which does not say it
target_sources(${plugin} PRIVATE dtypes.c)
target_compile_definitions(${plugin} PRIVATE LITERT_VERSION="${LITERT_VERSION}")
