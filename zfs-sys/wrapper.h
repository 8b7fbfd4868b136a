#include <libzfs_core.h>
#include <libnvpair.h>
