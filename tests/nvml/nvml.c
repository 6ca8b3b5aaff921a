/* Stands for NVIDIA's libnvidia-ml.so.1, on machines without an NVIDIA card.
 *
 * Built by the tests with the system's compiler, put first on LD_LIBRARY_PATH, and loaded by nvidia-ml-py, which does not
 * know the difference. CORRAL_TEST_NVML chooses the machine: `twins` (two RTX 5070 Ti), `mixed` (RTX 5090 and RTX 4090),
 * `lost` (two RTX 5070 Ti, the second fell off the bus), `shared` (one GB10, whose memory the driver does not give),
 * `mismatch` (driver upgraded, old kernel module), `unloaded` (no kernel module).
 *
 * Signatures, structures and error numbers are those of nvml.h as nvidia-ml-py 13 declares them. Sizes are what cards of
 * these models report: total memory is a little below the nominal size. Bounds of the power limit are of the right order
 * for the model; makers of boards choose them. An idle card's link is slower than its best (generation 1). A lost card still has a handle, name and UUID
 * from the driver's memory, and answers every question about its state with NVML_ERROR_GPU_IS_LOST. Functions that are not
 * here are reported by the binding as NVML_ERROR_FUNCTION_NOT_FOUND, as with an old driver.
 */
#include <stdlib.h>
#include <string.h>

enum {
  SUCCESS = 0,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  DRIVER_NOT_LOADED = 9,
  GPU_IS_LOST = 15,
  LIB_RM_VERSION_MISMATCH = 18,
};

#define MIB (1024ULL * 1024ULL)

typedef struct {
  const char *name;
  const char *uuid;
  unsigned long long total, used;
  int major, minor;
  unsigned int limit_mw, celsius;
  int lost, shared;
  unsigned int least_mw, most_mw, usual_mw; /* bounds of the power limit, and what it is without one */
  unsigned int pcie_generation, pcie_width; /* at best */
} Card;

typedef struct {
  const char *name;
  int init;
  unsigned int count;
  Card cards[2];
} Machine;

typedef struct {
  unsigned long long total, free, used;
} Memory;

#define RTX_5070_TI(uuid, used, lost) \
  { "NVIDIA GeForce RTX 5070 Ti", uuid, 16303 * MIB, used * MIB, 12, 0, 300000, 41, lost, 0, 250000, 350000, 300000, 5, 16 }

static const Machine machines[] = {
    {"twins", SUCCESS, 2,
     {RTX_5070_TI("GPU-11111111-1111-4111-8111-111111111111", 512, 0),
      RTX_5070_TI("GPU-22222222-2222-4222-8222-222222222222", 3, 0)}},
    {"mixed", SUCCESS, 2,
     {{"NVIDIA GeForce RTX 5090", "GPU-55555555-5555-4555-8555-555555555555", 32607 * MIB, 2 * MIB, 12, 0, 575000, 38, 0, 0,
       400000, 600000, 575000, 5, 16},
      {"NVIDIA GeForce RTX 4090", "GPU-44444444-4444-4444-8444-444444444444", 24564 * MIB, 1 * MIB, 8, 9, 400000, 35, 0, 0,
       150000, 600000, 450000, 4, 16}}},
    {"lost", SUCCESS, 2,
     {RTX_5070_TI("GPU-11111111-1111-4111-8111-111111111111", 512, 0),
      RTX_5070_TI("GPU-22222222-2222-4222-8222-222222222222", 3, 1)}},
    {"shared", SUCCESS, 1,
     {{"NVIDIA GB10", "GPU-33333333-3333-4333-8333-333333333333", 0, 0, 12, 1, 0, 44, 0, 1, 0, 0, 0, 0, 0}}},
    {"mismatch", LIB_RM_VERSION_MISMATCH, 0, {{0}}},
    {"unloaded", DRIVER_NOT_LOADED, 0, {{0}}},
};

static const Machine *machine(void) {
  const char *wanted = getenv("CORRAL_TEST_NVML");
  for (size_t i = 0; wanted && i < sizeof machines / sizeof machines[0]; i++)
    if (strcmp(machines[i].name, wanted) == 0) return &machines[i];
  abort(); /* a test that names no machine is wrong */
}

static int copy(char *to, unsigned int size, const char *text) {
  strncpy(to, text, size - 1);
  to[size - 1] = '\0';
  return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
  (void)flags;
  return machine()->init;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int number) {
  switch (number) {
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
  }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size) { return copy(version, size, "580.95.05"); }

int nvmlSystemGetCudaDriverVersion(int *version) {
  *version = 13000;
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
  *count = machine()->count;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, const Card **card) {
  if (index >= machine()->count) return INVALID_ARGUMENT;
  *card = &machine()->cards[index];
  return SUCCESS;
}

int nvmlDeviceGetName(const Card *card, char *name, unsigned int size) { return copy(name, size, card->name); }

int nvmlDeviceGetUUID(const Card *card, char *uuid, unsigned int size) { return copy(uuid, size, card->uuid); }

int nvmlDeviceGetMemoryInfo(const Card *card, Memory *memory) {
  if (card->lost) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  memory->total = card->total;
  memory->used = card->used;
  memory->free = card->total - card->used;
  return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(const Card *card, int *major, int *minor) {
  if (card->lost) return GPU_IS_LOST;
  *major = card->major;
  *minor = card->minor;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(const Card *card, unsigned int *milliwatts) {
  if (card->lost) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = card->limit_mw;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementDefaultLimit(const Card *card, unsigned int *milliwatts) {
  if (card->lost) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = card->usual_mw;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimitConstraints(const Card *card, unsigned int *least, unsigned int *most) {
  if (card->lost) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *least = card->least_mw;
  *most = card->most_mw;
  return SUCCESS;
}

static int link_value(const Card *card, unsigned int *to, unsigned int value) {
  if (card->lost) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *to = value;
  return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkGeneration(const Card *card, unsigned int *generation) {
  return link_value(card, generation, card->pcie_generation);
}

int nvmlDeviceGetMaxPcieLinkWidth(const Card *card, unsigned int *width) {
  return link_value(card, width, card->pcie_width);
}

int nvmlDeviceGetCurrPcieLinkGeneration(const Card *card, unsigned int *generation) {
  return link_value(card, generation, 1);
}

int nvmlDeviceGetCurrPcieLinkWidth(const Card *card, unsigned int *width) {
  return link_value(card, width, card->pcie_width / 2); /* two cards share the processor's 16 lanes */
}

int nvmlDeviceGetTemperature(const Card *card, int sensor, unsigned int *celsius) {
  (void)sensor;
  if (card->lost) return GPU_IS_LOST;
  *celsius = card->celsius;
  return SUCCESS;
}
