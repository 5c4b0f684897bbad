"""DeepSeek-OCR: pages' views through DeepEncoder into the decoder's image slots, logits out.

Source: DeepSeek-OCR (arXiv 2510.18234, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from folioscope.config import OcrConfig
from folioscope.model.cache import KVCache
from folioscope.model.decoder import Decoder
from folioscope.model.encoder import DeepEncoder


class DeepseekOcr(nn.Module):
    """The whole network. Device and dtype are those of its weights."""

    def __init__(self, config: OcrConfig):
        super().__init__()
        self.config = config
        self.encoder = DeepEncoder(config)
        self.decoder = Decoder(config.decoder)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.decoder.embed.weight.device

    def image_features(self, view: Tensor, tiles: Tensor | None = None, grid: tuple[int, int] = (1, 1)) -> Tensor:
        """Encode one page.

        Args:
            view: (3, S, S) global view, normalised to -1..1.
            tiles: (columns * rows, 3, t, t), row-major, or None.
            grid: Columns and rows of tiles.

        Returns:
            (slots, hidden) image tokens, in the order of the prompt's image slots.
        """
        seen = self.encoder(view[None].to(self.device, self.dtype))[0]
        parts = None if tiles is None else self.encoder(tiles.to(self.device, self.dtype))
        return self.encoder.arrange(seen, parts, grid)

    def embed(self, ids: Tensor, image_mask: Tensor, features: Sequence[Tensor | None]) -> Tensor:
        """Embed (B, T) ids; where `image_mask` (B, T) is True, row b takes `features[b]` (slots, hidden) in order."""
        embeddings = self.decoder.embed(ids)  # (B, T, hidden)
        found = [f for f in features if f is not None]
        if not found:
            return embeddings
        tokens = torch.cat(found).to(embeddings.dtype)
        assert int(image_mask.sum()) == len(tokens), "image slots and image tokens differ in number"
        return embeddings.masked_scatter(image_mask[..., None], tokens)

    def forward(self, ids: Tensor, image_mask: Tensor, features: Sequence[Tensor | None]) -> Tensor:
        """Logits (B, T, vocab) float32 of (B, T) ids, right-padded rows allowed, without a cache."""
        return self.decoder.logits(self.decoder(self.embed(ids, image_mask, features)))

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        return KVCache(self.config.decoder, batch, capacity, self.dtype, self.device)

    def prefill(
        self, ids: Tensor, lengths: Tensor, features: Sequence[Tensor | None], image_mask: Tensor, cache: KVCache
    ) -> Tensor:
        """Read prompts into an empty cache.

        Args:
            ids: (B, T) int64, right-padded; rows are `lengths` (B,) long.
            features: A row's image tokens (slots, hidden), or None.
            image_mask: (B, T) bool, True on the image slots.

        Returns:
            (B, vocab) float32 logits after each row's last token.
        """
        hidden = self.decoder(self.embed(ids, image_mask, features), cache)  # (B, T, hidden)
        cache.advance(lengths, ids.shape[1])
        last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]  # (B, hidden)
        return self.decoder.logits(last)

    def step(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Append one token (B,) to every row; return (B, vocab) float32 logits."""
        hidden = self.decoder(self.decoder.embed(ids[:, None]), cache)  # (B, 1, hidden)
        cache.advance(cache.lengths + 1, cache.extent + 1)
        return self.decoder.logits(hidden[:, 0])
