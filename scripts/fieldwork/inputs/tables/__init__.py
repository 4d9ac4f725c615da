"""Tables that the user wrote, in text or in a workbook: sheets, platemaps and image lists."""
