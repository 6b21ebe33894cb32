import torch

from napari_nucleus.models.msanet.clip import SMALL, UNTRAINED, load_clip
from napari_nucleus.models.msanet.graph.text import VOCABULARY


def test_sentences_are_encoded_as_with_all_their_padding() -> None:
    clip = load_clip(f"{SMALL}/{UNTRAINED}")
    texts = [VOCABULARY[0], "nucleus", VOCABULARY[-1]]
    with torch.no_grad():
        expected = clip.network.encode_text(clip.tokenizer(texts), normalize=True)
    torch.testing.assert_close(clip.sentences(texts), expected)
    torch.testing.assert_close(clip.sentences(texts[1:2]), expected[1:2])
