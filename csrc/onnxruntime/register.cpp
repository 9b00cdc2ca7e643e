// What ONNX Runtime calls when it loads the library.
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "operators.h"

namespace rfaconv {
namespace ort {

namespace {

const char domain_name[] = "rfaconv";
const char threads_key[] = "rfaconv.threads";  // of a session's configuration

// The operators of all sessions with one number of threads. The runtime keeps pointers to them, so they live for ever.
struct Registration {
    OrtCustomOpDomain* domain = nullptr;
    Description rfa, rfcbam, rfca;

    explicit Registration(int64_t threads) : rfa(RFACONV_RFA, threads), rfcbam(RFACONV_RFCBAM, threads), rfca(RFACONV_RFCA, threads) {}
};

OrtStatus* read_threads(const Api& api, const OrtSessionOptions* options, int64_t* threads) {
    *threads = int64_t(std::thread::hardware_concurrency());
    int found = 0;
    if (OrtStatus* status = api.has_config(options, threads_key, &found)) return status;
    if (found) {
        char text[32] = "";
        size_t size = sizeof(text);
        if (OrtStatus* status = api.config(options, threads_key, text, &size)) return status;
        *threads = std::atol(text);
        if (*threads < 1)
            return api.error(invalid_argument, "session configuration rfaconv.threads: expected a positive number");
    }
    *threads = *threads < 1 ? 1 : *threads > 256 ? 256 : *threads;
    return nullptr;
}

OrtStatus* find_domain(const Api& api, int64_t threads, OrtCustomOpDomain** domain) {
    static std::mutex mutex;
    static auto& known = *new std::map<int64_t, std::unique_ptr<Registration>>;
    const std::lock_guard<std::mutex> lock(mutex);
    auto& entry = known[threads];
    if (entry == nullptr) {
        auto made = std::make_unique<Registration>(threads);
        if (OrtStatus* status = api.create_domain(domain_name, &made->domain)) return status;
        for (const Description* op : {&made->rfa, &made->rfcbam, &made->rfca})
            if (OrtStatus* status = api.add_operator(made->domain, op)) return status;
        entry = std::move(made);
    }
    *domain = entry->domain;
    return nullptr;
}

}  // namespace
}  // namespace ort
}  // namespace rfaconv

extern "C" RFACONV_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    using namespace rfaconv::ort;
    void* const* table = base->table(api_version);
    if (table == nullptr) {
        // The first functions of the table have always been there.
        const std::string text = std::string("rfaconv's operators need ONNX Runtime 1.17 or newer, this is ") + base->version_text();
        return Api(base->table(1)).error(fail, text.c_str());
    }
    const Api api(table);
    try {
        int64_t threads = 1;
        if (OrtStatus* status = read_threads(api, options, &threads)) return status;
        OrtCustomOpDomain* domain = nullptr;
        if (OrtStatus* status = find_domain(api, threads, &domain)) return status;
        return api.add_domain(options, domain);
    } catch (const std::exception& error) {
        return api.error(fail, error.what());
    }
}
