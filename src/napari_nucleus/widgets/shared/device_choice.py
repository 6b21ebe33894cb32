"""The devices that a network can run on."""

import gc

from qtpy.QtWidgets import QComboBox

from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.preferences import preferences


class DeviceChoice(QComboBox):
    """Devices by name; the first choice, None, takes the GPU where there is one.

    The device of the preferences is chosen when it is found.

    To list them loads torch, in a thread, so that the first job starts at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.addItem("Automatic", None)
        self.setToolTip("Processor that runs the network; automatic takes a GPU if there is one")
        in_background(devices, then=self._on_devices)

    @property
    def device(self) -> str | None:
        """The chosen device in torch's words, None for automatic."""
        return self.currentData()

    def _on_devices(self, found: dict[str, str] | Failure) -> None:
        if isinstance(found, Failure):
            raise found.error
        preferred = preferences().device
        for name, device in found.items():
            self.addItem(name, device)
            if self.device is None and device.startswith(preferred):
                self.setCurrentIndex(self.count() - 1)


def devices() -> dict[str, str]:
    """Return the devices of this machine, name for the user to name for torch.

    Loads torch and everything else that the first segmentation needs.
    """
    gc.disable()  # looking for garbage among a million new objects halts the window again and again
    try:
        import napari_nucleus.inference.pipeline  # noqa: F401
        from napari_nucleus.models.devices import list_devices
    finally:
        gc.enable()
    return list_devices()
