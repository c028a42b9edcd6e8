// See host_defines.h; a host compiler needs nothing of this one.
#pragma once
