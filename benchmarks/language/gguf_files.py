"""The model's file once more, with other numbers of bits, as llama.cpp stores them."""

from pathlib import Path

HEAD = "token_embd.weight"  # tied


def written(source: Path, target: Path, kind: str, head: str = "Q8_0") -> int:
    """Copy a file with its matrices stored as `kind`, the head as `head`.

    Returns:
        The bytes of all tensors.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        array = field.types[0] == GGUFValueType.ARRAY
        element = field.types[-1] if array else None
        value = field.contents()
        writer.add_key_value(field.name, value, field.types[0], sub_type=element)
    size = 0
    for tensor in reader.tensors:
        if tensor.tensor_type == GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
            size += tensor.data.nbytes
            continue
        weight = quants.dequantize(tensor.data, tensor.tensor_type)
        stored = GGMLQuantizationType[head if tensor.name == HEAD else kind]
        packed = quants.quantize(weight, stored)
        writer.add_tensor(tensor.name, packed, raw_dtype=stored)
        size += packed.nbytes
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return size


def weights(path: Path):
    """The model of a file, its weights in float32."""
    from gguf import GGUFReader

    from deepseek_learn.lm import LanguageModel
    from deepseek_learn.zoo import smollm2

    reader = GGUFReader(path)
    config = smollm2._config(reader)
    model = LanguageModel(config)
    model.load_state_dict(smollm2._weights(reader, config), assign=True)
    model.lm_head.weight = model.model.embed_tokens.weight
    return model.eval()
