"""The form of the widget *Segment nuclei*."""

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.segment.batch_page import BatchSettings
from napari_nucleus.widgets.segment.target import TargetChoice
from napari_nucleus.widgets.segment.tissue_choice import TissueChoice
from napari_nucleus.widgets.shared.choices import ImageChoice, ModelChoice, MppField
from napari_nucleus.widgets.shared.device_choice import DeviceChoice
from napari_nucleus.widgets.shared.layer_pixels import plane_in_view
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.preferences import preferences

WHOLE, VISIBLE, SHAPES = "Whole image", "Visible area", "Inside drawn shapes"


class SegmentForm(QWidget):
    """What is segmented, and how: one image, or many.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer with the image.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.layer = ImageChoice(viewer.layers)
        self.model = ModelChoice()
        self.mpp = MppField()
        self.where = QComboBox()
        self.where.addItems([WHOLE, VISIBLE, SHAPES])
        self.where.setToolTip("Part of the image to segment")
        self.tissue = TissueChoice(viewer, self.slide_of)
        self.target = TargetChoice()
        self.device = DeviceChoice()
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._rows.addRow("Image", self.layer)
        self._rows.addRow("Model", self.model)
        self._rows.addRow("", self.model.summary)
        self._rows.addRow("µm/px", self.mpp)
        self._rows.addRow("Where", self.where)
        self._rows.addRow("Tissue", self.tissue)
        self._rows.addRow("Result", self.target)
        self._rows.addRow("Device", self.device)

    @property
    def checkpoint(self) -> str:
        """Name or file of the chosen model.

        Raises
        ------
        UserError
            If none is.
        """
        if self.model.checkpoint is None:
            raise UserError("No model selected: choose one, or load weights from a file.")
        return self.model.checkpoint

    def slide_of(self, image: Image) -> Slide:
        """Return the plane of an image that is in view as a slide with the µm/px.

        Raises
        ------
        UserError
            If its pixels cannot be used, or the µm/px is not plausible.
        """
        return layer_slide(image, self.mpp.mpp, plane_in_view(self._viewer, image))

    def settings(self) -> BatchSettings:
        """Return how many images are segmented.

        Raises
        ------
        UserError
            If there is no model, or the folder for results cannot be used.
        """
        return BatchSettings(
            model=self.checkpoint,
            tissue="all" if self.tissue.is_everything else None,
            device=self.device.device,
            folder=preferences().folder_of_results(),
        )

    def show_many(self, many: bool) -> None:
        """Show what counts for many images, or for one."""
        for field in (self.layer, self.mpp, self.where, self.target):
            field.setVisible(not many)
            if (label := self._rows.labelForField(field)) is not None:
                label.setVisible(not many)
        self.tissue.show_layers(not many)
