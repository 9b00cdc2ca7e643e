// The part of ONNX Runtime's C interface that an operator library needs.
//
// ONNX Runtime hands out a table of functions whose order never changes and that only grows at its end, so the table is read
// by position here and no header of ONNX Runtime is needed to build. What is used exists since 1.17 (version 17 of the table).
#ifndef RFACONV_ORT_API_H
#define RFACONV_ORT_API_H

#include <cstddef>
#include <cstdint>

// Opaque things of the runtime.
struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;

// What the runtime passes to RegisterCustomOps.
struct OrtApiBase {
    void* const* (*table)(uint32_t version);  // null if the runtime is older
    const char* (*version_text)();
};

namespace rfaconv {
namespace ort {

enum : uint32_t { api_version = 17 };
enum ErrorCode : int { fail = 1, invalid_argument = 2 };
enum : int { element_float = 1 };
enum : int { required = 0, optional = 1 };

// What a library fills in for each operator: version 17 of the runtime's description, in its order.
struct Operator {
    uint32_t version;
    void* (*create)(const Operator*, void* const* api, const OrtKernelInfo*);
    const char* (*name)(const Operator*);
    const char* (*provider)(const Operator*);
    int (*input_type)(const Operator*, size_t);
    size_t (*input_count)(const Operator*);
    int (*output_type)(const Operator*, size_t);
    size_t (*output_count)(const Operator*);
    void (*compute)(void*, OrtKernelContext*);
    void (*destroy)(void*);
    int (*input_kind)(const Operator*, size_t);
    int (*output_kind)(const Operator*, size_t);
    int (*input_memory)(const Operator*, size_t);
    int (*variadic_input_minimum)(const Operator*);
    int (*variadic_input_homogeneous)(const Operator*);
    int (*variadic_output_minimum)(const Operator*);
    int (*variadic_output_homogeneous)(const Operator*);
    OrtStatus* (*create_checked)(const Operator*, void* const* api, const OrtKernelInfo*, void** kernel);
    OrtStatus* (*compute_checked)(void*, OrtKernelContext*);
    OrtStatus* (*infer_shape)(const Operator*, void*);
    int (*first_opset)(const Operator*);
    int (*last_opset)(const Operator*);
    void* later_versions[8];  // not read at version 17
};

// The table, with the type of each function that is used. Statuses are null for success.
class Api {
public:
    explicit Api(void* const* table) : table_(table) {}

    OrtStatus* error(ErrorCode code, const char* text) const { return at<OrtStatus*(int, const char*)>(0)(code, text); }
    const char* message(const OrtStatus* status) const { return at<const char*(const OrtStatus*)>(2)(status); }
    void release(OrtStatus* status) const { at<void(OrtStatus*)>(93)(status); }

    OrtStatus* create_domain(const char* name, OrtCustomOpDomain** domain) const {
        return at<OrtStatus*(const char*, OrtCustomOpDomain**)>(26)(name, domain);
    }
    OrtStatus* add_operator(OrtCustomOpDomain* domain, const Operator* op) const {
        return at<OrtStatus*(OrtCustomOpDomain*, const Operator*)>(27)(domain, op);
    }
    OrtStatus* add_domain(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
        return at<OrtStatus*(OrtSessionOptions*, OrtCustomOpDomain*)>(28)(options, domain);
    }
    OrtStatus* has_config(const OrtSessionOptions* options, const char* key, int* found) const {
        return at<OrtStatus*(const OrtSessionOptions*, const char*, int*)>(237)(options, key, found);
    }
    OrtStatus* config(const OrtSessionOptions* options, const char* key, char* text, size_t* size) const {
        return at<OrtStatus*(const OrtSessionOptions*, const char*, char*, size_t*)>(238)(options, key, text, size);
    }
    OrtStatus* integer(const OrtKernelInfo* info, const char* name, int64_t* value) const {
        return at<OrtStatus*(const OrtKernelInfo*, const char*, int64_t*)>(86)(info, name, value);
    }
    // values may be null: then size receives the count
    OrtStatus* integers(const OrtKernelInfo* info, const char* name, int64_t* values, size_t* size) const {
        return at<OrtStatus*(const OrtKernelInfo*, const char*, int64_t*, size_t*)>(163)(info, name, values, size);
    }
    OrtStatus* node_name(const OrtKernelInfo* info, char* text, size_t* size) const {
        return at<OrtStatus*(const OrtKernelInfo*, char*, size_t*)>(244)(info, text, size);
    }
    OrtStatus* input_count(const OrtKernelContext* context, size_t* count) const {
        return at<OrtStatus*(const OrtKernelContext*, size_t*)>(88)(context, count);
    }
    OrtStatus* input(const OrtKernelContext* context, size_t index, const OrtValue** value) const {
        return at<OrtStatus*(const OrtKernelContext*, size_t, const OrtValue**)>(90)(context, index, value);
    }
    OrtStatus* output(OrtKernelContext* context, const int64_t* size, size_t dims, OrtValue** value) const {
        return at<OrtStatus*(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**)>(91)(context, 0, size, dims, value);
    }
    OrtStatus* data(const OrtValue* value, void** data) const {
        return at<OrtStatus*(const OrtValue*, void**)>(51)(value, data);
    }
    OrtStatus* shape(const OrtValue* value, OrtTensorTypeAndShapeInfo** info) const {
        return at<OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>(65)(value, info);
    }
    OrtStatus* dims(const OrtTensorTypeAndShapeInfo* info, size_t* count) const {
        return at<OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t*)>(61)(info, count);
    }
    OrtStatus* size(const OrtTensorTypeAndShapeInfo* info, int64_t* size, size_t count) const {
        return at<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>(62)(info, size, count);
    }
    void release(OrtTensorTypeAndShapeInfo* info) const { at<void(OrtTensorTypeAndShapeInfo*)>(99)(info); }
    // Runs body(data, 0 .. tasks - 1) on the session's threads, at most `batches` at once.
    OrtStatus* parallel(const OrtKernelContext* context, void (*body)(void*, size_t), size_t tasks, size_t batches,
                        void* data) const {
        using Function = OrtStatus*(const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*);
        return at<Function>(274)(context, body, tasks, batches, data);
    }

private:
    template <class Function>
    Function* at(size_t index) const {
        return reinterpret_cast<Function*>(table_[index]);
    }

    void* const* table_;
};

}  // namespace ort
}  // namespace rfaconv

#endif
