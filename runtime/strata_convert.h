/* libstrata: folders of published models to GGUF files.
 *
 *   strata_convert("all-MiniLM-L6-v2", "minilm.gguf", NULL, NULL, NULL);
 *
 * strata.h includes this header; errors, ownership and threads are as it says.
 */
#ifndef STRATA_CONVERT_H
#define STRATA_CONVERT_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct strata_convert_options {
    size_t size;      /* sizeof(strata_convert_options) */
    const char *type; /* of the matrices: "f32", "f16" (default), "bf16" or "q8_0", in any case */
} strata_convert_options;

STRATA_API void strata_convert_options_default(strata_convert_options *options);

/* Writes the model in the folder `folder` to the GGUF file `out`, whose name ends in ".gguf".  Read
 * are config.json, model.safetensors (or the shards of model.safetensors.index.json), the tokenizer
 * (tokenizer.json, vocab.txt, tokenizer_config.json), and what sentence-transformers adds
 * (modules.json, 1_Pooling/config.json, sentence_bert_config.json); only plain files that lie in
 * the folder.
 *
 * Architectures: BertModel (WordPiece tokenizers), LlamaForCausalLM and OpenELMForCausalLM (BPE:
 * byte-level, or Llama 2's with byte fallback, whose tokenizer.json and tokenizer_config.json
 * belong beside the config.json of OpenELM, which is published without any).  Keys and tensor names
 * are those of the GGUF specification and of other engines; strata's own key is
 * strata.max_sequence_length.  Vectors, and BERT's tables of positions and segments, stay F32. Q8_0
 * rounds to nearest, 32 weights a scale.
 *
 * A file at `out` is replaced when the new one is whole; after an error it is as it was, and
 * nothing else is left.  on_progress (may be NULL) is called with the name of the tensor that is
 * written, and the bytes done of those of all.  options NULL means the defaults.
 *
 * E_INVALID: options->size or type, or the name of `out`; E_IO: a file cannot be read or written;
 * E_FORMAT: a file of the folder is broken, or weights are not finite (tensor and element are
 * named); E_UNSUPPORTED: the architecture, tokenizer, pooling or a value of the configuration is
 * none that strata can express (named); E_CANCELLED: on_progress said so; E_NOMEM. */
STRATA_API strata_status strata_convert(const char *folder, const char *out,
                                        const strata_convert_options *options,
                                        strata_progress_fn *on_progress, void *user);

#ifdef __cplusplus
}
#endif

#endif
