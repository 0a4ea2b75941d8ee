"""The structures of V4L2, made by tools/v4l2_uapi.py: don't edit.

Source: Linux 6.1.187:
include/uapi/linux/videodev2.h, include/uapi/linux/v4l2-controls.h, include/uapi/linux/v4l2-common.h, include/uapi/linux/dma-buf.h
"""
# ruff: noqa: E501

from ctypes import (
    c_char,
    c_int8,
    c_int16,
    c_int32,
    c_int64,
    c_long,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_ulong,
)

from mapdev.subsystems.v4l2.uapi_base import UapiStructure, UapiUnion


class UapiTimeval(UapiStructure):
    """``struct timeval``."""

    _fields_ = (
        ("tv_sec", c_long),
        ("tv_usec", c_long),
    )


class UapiTimespec(UapiStructure):
    """``struct timespec``."""

    _fields_ = (
        ("tv_sec", c_long),
        ("tv_nsec", c_long),
    )


class V4l2Edid(UapiStructure):
    """``struct v4l2_edid``."""

    _fields_ = (
        ("pad", c_uint32),
        ("start_block", c_uint32),
        ("blocks", c_uint32),
        ("reserved", c_uint32 * 5),
        ("edid", c_size_t),
    )


class V4l2CtrlH264Sps(UapiStructure):
    """``struct v4l2_ctrl_h264_sps``."""

    _fields_ = (
        ("profile_idc", c_uint8),
        ("constraint_set_flags", c_uint8),
        ("level_idc", c_uint8),
        ("seq_parameter_set_id", c_uint8),
        ("chroma_format_idc", c_uint8),
        ("bit_depth_luma_minus8", c_uint8),
        ("bit_depth_chroma_minus8", c_uint8),
        ("log2_max_frame_num_minus4", c_uint8),
        ("pic_order_cnt_type", c_uint8),
        ("log2_max_pic_order_cnt_lsb_minus4", c_uint8),
        ("max_num_ref_frames", c_uint8),
        ("num_ref_frames_in_pic_order_cnt_cycle", c_uint8),
        ("offset_for_ref_frame", c_int32 * 255),
        ("offset_for_non_ref_pic", c_int32),
        ("offset_for_top_to_bottom_field", c_int32),
        ("pic_width_in_mbs_minus1", c_uint16),
        ("pic_height_in_map_units_minus1", c_uint16),
        ("flags", c_uint32),
    )


class V4l2CtrlH264Pps(UapiStructure):
    """``struct v4l2_ctrl_h264_pps``."""

    _fields_ = (
        ("pic_parameter_set_id", c_uint8),
        ("seq_parameter_set_id", c_uint8),
        ("num_slice_groups_minus1", c_uint8),
        ("num_ref_idx_l0_default_active_minus1", c_uint8),
        ("num_ref_idx_l1_default_active_minus1", c_uint8),
        ("weighted_bipred_idc", c_uint8),
        ("pic_init_qp_minus26", c_int8),
        ("pic_init_qs_minus26", c_int8),
        ("chroma_qp_index_offset", c_int8),
        ("second_chroma_qp_index_offset", c_int8),
        ("flags", c_uint16),
    )


class V4l2CtrlH264ScalingMatrix(UapiStructure):
    """``struct v4l2_ctrl_h264_scaling_matrix``."""

    _fields_ = (
        ("scaling_list_4x4", (c_uint8 * 16) * 6),
        ("scaling_list_8x8", (c_uint8 * 64) * 6),
    )


class V4l2H264WeightFactors(UapiStructure):
    """``struct v4l2_h264_weight_factors``."""

    _fields_ = (
        ("luma_weight", c_int16 * 32),
        ("luma_offset", c_int16 * 32),
        ("chroma_weight", (c_int16 * 2) * 32),
        ("chroma_offset", (c_int16 * 2) * 32),
    )


class V4l2CtrlH264PredWeights(UapiStructure):
    """``struct v4l2_ctrl_h264_pred_weights``."""

    _fields_ = (
        ("luma_log2_weight_denom", c_uint16),
        ("chroma_log2_weight_denom", c_uint16),
        ("weight_factors", V4l2H264WeightFactors * 2),
    )


class V4l2H264Reference(UapiStructure):
    """``struct v4l2_h264_reference``."""

    _fields_ = (
        ("fields", c_uint8),
        ("index", c_uint8),
    )


class V4l2CtrlH264SliceParams(UapiStructure):
    """``struct v4l2_ctrl_h264_slice_params``."""

    _fields_ = (
        ("header_bit_size", c_uint32),
        ("first_mb_in_slice", c_uint32),
        ("slice_type", c_uint8),
        ("colour_plane_id", c_uint8),
        ("redundant_pic_cnt", c_uint8),
        ("cabac_init_idc", c_uint8),
        ("slice_qp_delta", c_int8),
        ("slice_qs_delta", c_int8),
        ("disable_deblocking_filter_idc", c_uint8),
        ("slice_alpha_c0_offset_div2", c_int8),
        ("slice_beta_offset_div2", c_int8),
        ("num_ref_idx_l0_active_minus1", c_uint8),
        ("num_ref_idx_l1_active_minus1", c_uint8),
        ("reserved", c_uint8),
        ("ref_pic_list0", V4l2H264Reference * 32),
        ("ref_pic_list1", V4l2H264Reference * 32),
        ("flags", c_uint32),
    )


class V4l2H264DpbEntry(UapiStructure):
    """``struct v4l2_h264_dpb_entry``."""

    _fields_ = (
        ("reference_ts", c_uint64),
        ("pic_num", c_uint32),
        ("frame_num", c_uint16),
        ("fields", c_uint8),
        ("reserved", c_uint8 * 5),
        ("top_field_order_cnt", c_int32),
        ("bottom_field_order_cnt", c_int32),
        ("flags", c_uint32),
    )


class V4l2CtrlH264DecodeParams(UapiStructure):
    """``struct v4l2_ctrl_h264_decode_params``."""

    _fields_ = (
        ("dpb", V4l2H264DpbEntry * 16),
        ("nal_ref_idc", c_uint16),
        ("frame_num", c_uint16),
        ("top_field_order_cnt", c_int32),
        ("bottom_field_order_cnt", c_int32),
        ("idr_pic_id", c_uint16),
        ("pic_order_cnt_lsb", c_uint16),
        ("delta_pic_order_cnt_bottom", c_int32),
        ("delta_pic_order_cnt0", c_int32),
        ("delta_pic_order_cnt1", c_int32),
        ("dec_ref_pic_marking_bit_size", c_uint32),
        ("pic_order_cnt_bit_size", c_uint32),
        ("slice_group_change_cycle", c_uint32),
        ("reserved", c_uint32),
        ("flags", c_uint32),
    )


class V4l2CtrlFwhtParams(UapiStructure):
    """``struct v4l2_ctrl_fwht_params``."""

    _fields_ = (
        ("backward_ref_ts", c_uint64),
        ("version", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("flags", c_uint32),
        ("colorspace", c_uint32),
        ("xfer_func", c_uint32),
        ("ycbcr_enc", c_uint32),
        ("quantization", c_uint32),
    )


class V4l2Vp8Segment(UapiStructure):
    """``struct v4l2_vp8_segment``."""

    _fields_ = (
        ("quant_update", c_int8 * 4),
        ("lf_update", c_int8 * 4),
        ("segment_probs", c_uint8 * 3),
        ("padding", c_uint8),
        ("flags", c_uint32),
    )


class V4l2Vp8LoopFilter(UapiStructure):
    """``struct v4l2_vp8_loop_filter``."""

    _fields_ = (
        ("ref_frm_delta", c_int8 * 4),
        ("mb_mode_delta", c_int8 * 4),
        ("sharpness_level", c_uint8),
        ("level", c_uint8),
        ("padding", c_uint16),
        ("flags", c_uint32),
    )


class V4l2Vp8Quantization(UapiStructure):
    """``struct v4l2_vp8_quantization``."""

    _fields_ = (
        ("y_ac_qi", c_uint8),
        ("y_dc_delta", c_int8),
        ("y2_dc_delta", c_int8),
        ("y2_ac_delta", c_int8),
        ("uv_dc_delta", c_int8),
        ("uv_ac_delta", c_int8),
        ("padding", c_uint16),
    )


class V4l2Vp8Entropy(UapiStructure):
    """``struct v4l2_vp8_entropy``."""

    _fields_ = (
        ("coeff_probs", (((c_uint8 * 11) * 3) * 8) * 4),
        ("y_mode_probs", c_uint8 * 4),
        ("uv_mode_probs", c_uint8 * 3),
        ("mv_probs", (c_uint8 * 19) * 2),
        ("padding", c_uint8 * 3),
    )


class V4l2Vp8EntropyCoderState(UapiStructure):
    """``struct v4l2_vp8_entropy_coder_state``."""

    _fields_ = (
        ("range", c_uint8),
        ("value", c_uint8),
        ("bit_count", c_uint8),
        ("padding", c_uint8),
    )


class V4l2CtrlVp8Frame(UapiStructure):
    """``struct v4l2_ctrl_vp8_frame``."""

    _fields_ = (
        ("segment", V4l2Vp8Segment),
        ("lf", V4l2Vp8LoopFilter),
        ("quant", V4l2Vp8Quantization),
        ("entropy", V4l2Vp8Entropy),
        ("coder_state", V4l2Vp8EntropyCoderState),
        ("width", c_uint16),
        ("height", c_uint16),
        ("horizontal_scale", c_uint8),
        ("vertical_scale", c_uint8),
        ("version", c_uint8),
        ("prob_skip_false", c_uint8),
        ("prob_intra", c_uint8),
        ("prob_last", c_uint8),
        ("prob_gf", c_uint8),
        ("num_dct_parts", c_uint8),
        ("first_part_size", c_uint32),
        ("first_part_header_bits", c_uint32),
        ("dct_part_sizes", c_uint32 * 8),
        ("last_frame_ts", c_uint64),
        ("golden_frame_ts", c_uint64),
        ("alt_frame_ts", c_uint64),
        ("flags", c_uint64),
    )


class V4l2CtrlMpeg2Sequence(UapiStructure):
    """``struct v4l2_ctrl_mpeg2_sequence``."""

    _fields_ = (
        ("horizontal_size", c_uint16),
        ("vertical_size", c_uint16),
        ("vbv_buffer_size", c_uint32),
        ("profile_and_level_indication", c_uint16),
        ("chroma_format", c_uint8),
        ("flags", c_uint8),
    )


class V4l2CtrlMpeg2Picture(UapiStructure):
    """``struct v4l2_ctrl_mpeg2_picture``."""

    _fields_ = (
        ("backward_ref_ts", c_uint64),
        ("forward_ref_ts", c_uint64),
        ("flags", c_uint32),
        ("f_code", (c_uint8 * 2) * 2),
        ("picture_coding_type", c_uint8),
        ("picture_structure", c_uint8),
        ("intra_dc_precision", c_uint8),
        ("reserved", c_uint8 * 5),
    )


class V4l2CtrlMpeg2Quantisation(UapiStructure):
    """``struct v4l2_ctrl_mpeg2_quantisation``."""

    _fields_ = (
        ("intra_quantiser_matrix", c_uint8 * 64),
        ("non_intra_quantiser_matrix", c_uint8 * 64),
        ("chroma_intra_quantiser_matrix", c_uint8 * 64),
        ("chroma_non_intra_quantiser_matrix", c_uint8 * 64),
    )


class V4l2CtrlHevcSps(UapiStructure):
    """``struct v4l2_ctrl_hevc_sps``."""

    _fields_ = (
        ("video_parameter_set_id", c_uint8),
        ("seq_parameter_set_id", c_uint8),
        ("pic_width_in_luma_samples", c_uint16),
        ("pic_height_in_luma_samples", c_uint16),
        ("bit_depth_luma_minus8", c_uint8),
        ("bit_depth_chroma_minus8", c_uint8),
        ("log2_max_pic_order_cnt_lsb_minus4", c_uint8),
        ("sps_max_dec_pic_buffering_minus1", c_uint8),
        ("sps_max_num_reorder_pics", c_uint8),
        ("sps_max_latency_increase_plus1", c_uint8),
        ("log2_min_luma_coding_block_size_minus3", c_uint8),
        ("log2_diff_max_min_luma_coding_block_size", c_uint8),
        ("log2_min_luma_transform_block_size_minus2", c_uint8),
        ("log2_diff_max_min_luma_transform_block_size", c_uint8),
        ("max_transform_hierarchy_depth_inter", c_uint8),
        ("max_transform_hierarchy_depth_intra", c_uint8),
        ("pcm_sample_bit_depth_luma_minus1", c_uint8),
        ("pcm_sample_bit_depth_chroma_minus1", c_uint8),
        ("log2_min_pcm_luma_coding_block_size_minus3", c_uint8),
        ("log2_diff_max_min_pcm_luma_coding_block_size", c_uint8),
        ("num_short_term_ref_pic_sets", c_uint8),
        ("num_long_term_ref_pics_sps", c_uint8),
        ("chroma_format_idc", c_uint8),
        ("sps_max_sub_layers_minus1", c_uint8),
        ("reserved", c_uint8 * 6),
        ("flags", c_uint64),
    )


class V4l2CtrlHevcPps(UapiStructure):
    """``struct v4l2_ctrl_hevc_pps``."""

    _fields_ = (
        ("pic_parameter_set_id", c_uint8),
        ("num_extra_slice_header_bits", c_uint8),
        ("num_ref_idx_l0_default_active_minus1", c_uint8),
        ("num_ref_idx_l1_default_active_minus1", c_uint8),
        ("init_qp_minus26", c_int8),
        ("diff_cu_qp_delta_depth", c_uint8),
        ("pps_cb_qp_offset", c_int8),
        ("pps_cr_qp_offset", c_int8),
        ("num_tile_columns_minus1", c_uint8),
        ("num_tile_rows_minus1", c_uint8),
        ("column_width_minus1", c_uint8 * 20),
        ("row_height_minus1", c_uint8 * 22),
        ("pps_beta_offset_div2", c_int8),
        ("pps_tc_offset_div2", c_int8),
        ("log2_parallel_merge_level_minus2", c_uint8),
        ("reserved", c_uint8),
        ("flags", c_uint64),
    )


class V4l2HevcDpbEntry(UapiStructure):
    """``struct v4l2_hevc_dpb_entry``."""

    _fields_ = (
        ("timestamp", c_uint64),
        ("flags", c_uint8),
        ("field_pic", c_uint8),
        ("reserved", c_uint16),
        ("pic_order_cnt_val", c_int32),
    )


class V4l2HevcPredWeightTable(UapiStructure):
    """``struct v4l2_hevc_pred_weight_table``."""

    _fields_ = (
        ("delta_luma_weight_l0", c_int8 * 16),
        ("luma_offset_l0", c_int8 * 16),
        ("delta_chroma_weight_l0", (c_int8 * 2) * 16),
        ("chroma_offset_l0", (c_int8 * 2) * 16),
        ("delta_luma_weight_l1", c_int8 * 16),
        ("luma_offset_l1", c_int8 * 16),
        ("delta_chroma_weight_l1", (c_int8 * 2) * 16),
        ("chroma_offset_l1", (c_int8 * 2) * 16),
        ("luma_log2_weight_denom", c_uint8),
        ("delta_chroma_log2_weight_denom", c_int8),
    )


class V4l2CtrlHevcSliceParams(UapiStructure):
    """``struct v4l2_ctrl_hevc_slice_params``."""

    _fields_ = (
        ("bit_size", c_uint32),
        ("data_byte_offset", c_uint32),
        ("num_entry_point_offsets", c_uint32),
        ("nal_unit_type", c_uint8),
        ("nuh_temporal_id_plus1", c_uint8),
        ("slice_type", c_uint8),
        ("colour_plane_id", c_uint8),
        ("slice_pic_order_cnt", c_int32),
        ("num_ref_idx_l0_active_minus1", c_uint8),
        ("num_ref_idx_l1_active_minus1", c_uint8),
        ("collocated_ref_idx", c_uint8),
        ("five_minus_max_num_merge_cand", c_uint8),
        ("slice_qp_delta", c_int8),
        ("slice_cb_qp_offset", c_int8),
        ("slice_cr_qp_offset", c_int8),
        ("slice_act_y_qp_offset", c_int8),
        ("slice_act_cb_qp_offset", c_int8),
        ("slice_act_cr_qp_offset", c_int8),
        ("slice_beta_offset_div2", c_int8),
        ("slice_tc_offset_div2", c_int8),
        ("pic_struct", c_uint8),
        ("reserved0", c_uint8 * 3),
        ("slice_segment_addr", c_uint32),
        ("ref_idx_l0", c_uint8 * 16),
        ("ref_idx_l1", c_uint8 * 16),
        ("short_term_ref_pic_set_size", c_uint16),
        ("long_term_ref_pic_set_size", c_uint16),
        ("pred_weight_table", V4l2HevcPredWeightTable),
        ("reserved1", c_uint8 * 2),
        ("flags", c_uint64),
    )


class V4l2CtrlHevcDecodeParams(UapiStructure):
    """``struct v4l2_ctrl_hevc_decode_params``."""

    _fields_ = (
        ("pic_order_cnt_val", c_int32),
        ("short_term_ref_pic_set_size", c_uint16),
        ("long_term_ref_pic_set_size", c_uint16),
        ("num_active_dpb_entries", c_uint8),
        ("num_poc_st_curr_before", c_uint8),
        ("num_poc_st_curr_after", c_uint8),
        ("num_poc_lt_curr", c_uint8),
        ("poc_st_curr_before", c_uint8 * 16),
        ("poc_st_curr_after", c_uint8 * 16),
        ("poc_lt_curr", c_uint8 * 16),
        ("num_delta_pocs_of_ref_rps_idx", c_uint8),
        ("reserved", c_uint8 * 3),
        ("dpb", V4l2HevcDpbEntry * 16),
        ("flags", c_uint64),
    )


class V4l2CtrlHevcScalingMatrix(UapiStructure):
    """``struct v4l2_ctrl_hevc_scaling_matrix``."""

    _fields_ = (
        ("scaling_list_4x4", (c_uint8 * 16) * 6),
        ("scaling_list_8x8", (c_uint8 * 64) * 6),
        ("scaling_list_16x16", (c_uint8 * 64) * 6),
        ("scaling_list_32x32", (c_uint8 * 64) * 2),
        ("scaling_list_dc_coef_16x16", c_uint8 * 6),
        ("scaling_list_dc_coef_32x32", c_uint8 * 2),
    )


class V4l2CtrlHdr10CllInfo(UapiStructure):
    """``struct v4l2_ctrl_hdr10_cll_info``."""

    _fields_ = (
        ("max_content_light_level", c_uint16),
        ("max_pic_average_light_level", c_uint16),
    )


class V4l2CtrlHdr10MasteringDisplay(UapiStructure):
    """``struct v4l2_ctrl_hdr10_mastering_display``."""

    _fields_ = (
        ("display_primaries_x", c_uint16 * 3),
        ("display_primaries_y", c_uint16 * 3),
        ("white_point_x", c_uint16),
        ("white_point_y", c_uint16),
        ("max_display_mastering_luminance", c_uint32),
        ("min_display_mastering_luminance", c_uint32),
    )


class V4l2Vp9LoopFilter(UapiStructure):
    """``struct v4l2_vp9_loop_filter``."""

    _fields_ = (
        ("ref_deltas", c_int8 * 4),
        ("mode_deltas", c_int8 * 2),
        ("level", c_uint8),
        ("sharpness", c_uint8),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 7),
    )


class V4l2Vp9Quantization(UapiStructure):
    """``struct v4l2_vp9_quantization``."""

    _fields_ = (
        ("base_q_idx", c_uint8),
        ("delta_q_y_dc", c_int8),
        ("delta_q_uv_dc", c_int8),
        ("delta_q_uv_ac", c_int8),
        ("reserved", c_uint8 * 4),
    )


class V4l2Vp9Segmentation(UapiStructure):
    """``struct v4l2_vp9_segmentation``."""

    _fields_ = (
        ("feature_data", (c_int16 * 4) * 8),
        ("feature_enabled", c_uint8 * 8),
        ("tree_probs", c_uint8 * 7),
        ("pred_probs", c_uint8 * 3),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 5),
    )


class V4l2CtrlVp9Frame(UapiStructure):
    """``struct v4l2_ctrl_vp9_frame``."""

    _fields_ = (
        ("lf", V4l2Vp9LoopFilter),
        ("quant", V4l2Vp9Quantization),
        ("seg", V4l2Vp9Segmentation),
        ("flags", c_uint32),
        ("compressed_header_size", c_uint16),
        ("uncompressed_header_size", c_uint16),
        ("frame_width_minus_1", c_uint16),
        ("frame_height_minus_1", c_uint16),
        ("render_width_minus_1", c_uint16),
        ("render_height_minus_1", c_uint16),
        ("last_frame_ts", c_uint64),
        ("golden_frame_ts", c_uint64),
        ("alt_frame_ts", c_uint64),
        ("ref_frame_sign_bias", c_uint8),
        ("reset_frame_context", c_uint8),
        ("frame_context_idx", c_uint8),
        ("profile", c_uint8),
        ("bit_depth", c_uint8),
        ("interpolation_filter", c_uint8),
        ("tile_cols_log2", c_uint8),
        ("tile_rows_log2", c_uint8),
        ("reference_mode", c_uint8),
        ("reserved", c_uint8 * 7),
    )


class V4l2Vp9MvProbs(UapiStructure):
    """``struct v4l2_vp9_mv_probs``."""

    _fields_ = (
        ("joint", c_uint8 * 3),
        ("sign", c_uint8 * 2),
        ("classes", (c_uint8 * 10) * 2),
        ("class0_bit", c_uint8 * 2),
        ("bits", (c_uint8 * 10) * 2),
        ("class0_fr", ((c_uint8 * 3) * 2) * 2),
        ("fr", (c_uint8 * 3) * 2),
        ("class0_hp", c_uint8 * 2),
        ("hp", c_uint8 * 2),
    )


class V4l2CtrlVp9CompressedHdr(UapiStructure):
    """``struct v4l2_ctrl_vp9_compressed_hdr``."""

    _fields_ = (
        ("tx_mode", c_uint8),
        ("tx8", (c_uint8 * 1) * 2),
        ("tx16", (c_uint8 * 2) * 2),
        ("tx32", (c_uint8 * 3) * 2),
        ("coef", (((((c_uint8 * 3) * 6) * 6) * 2) * 2) * 4),
        ("skip", c_uint8 * 3),
        ("inter_mode", (c_uint8 * 3) * 7),
        ("interp_filter", (c_uint8 * 2) * 4),
        ("is_inter", c_uint8 * 4),
        ("comp_mode", c_uint8 * 5),
        ("single_ref", (c_uint8 * 2) * 5),
        ("comp_ref", c_uint8 * 5),
        ("y_mode", (c_uint8 * 9) * 4),
        ("uv_mode", (c_uint8 * 9) * 10),
        ("partition", (c_uint8 * 3) * 16),
        ("mv", V4l2Vp9MvProbs),
    )


class V4l2Rect(UapiStructure):
    """``struct v4l2_rect``."""

    _fields_ = (
        ("left", c_int32),
        ("top", c_int32),
        ("width", c_uint32),
        ("height", c_uint32),
    )


class V4l2Fract(UapiStructure):
    """``struct v4l2_fract``."""

    _fields_ = (
        ("numerator", c_uint32),
        ("denominator", c_uint32),
    )


class V4l2Area(UapiStructure):
    """``struct v4l2_area``."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
    )


class V4l2Capability(UapiStructure):
    """``struct v4l2_capability``."""

    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2PixFormatU0(UapiUnion):
    """``union v4l2_pix_format_u0``."""

    _fields_ = (
        ("ycbcr_enc", c_uint32),
        ("hsv_enc", c_uint32),
    )


class V4l2PixFormat(UapiStructure):
    """``struct v4l2_pix_format``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
        ("flags", c_uint32),
        ("u0", V4l2PixFormatU0),
        ("quantization", c_uint32),
        ("xfer_func", c_uint32),
    )


class V4l2Fmtdesc(UapiStructure):
    """``struct v4l2_fmtdesc``."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2FrmsizeDiscrete(UapiStructure):
    """``struct v4l2_frmsize_discrete``."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
    )


class V4l2FrmsizeStepwise(UapiStructure):
    """``struct v4l2_frmsize_stepwise``."""

    _fields_ = (
        ("min_width", c_uint32),
        ("max_width", c_uint32),
        ("step_width", c_uint32),
        ("min_height", c_uint32),
        ("max_height", c_uint32),
        ("step_height", c_uint32),
    )


class V4l2FrmsizeenumU0(UapiUnion):
    """``union v4l2_frmsizeenum_u0``."""

    _fields_ = (
        ("discrete", V4l2FrmsizeDiscrete),
        ("stepwise", V4l2FrmsizeStepwise),
    )


class V4l2Frmsizeenum(UapiStructure):
    """``struct v4l2_frmsizeenum``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        ("u0", V4l2FrmsizeenumU0),
        ("reserved", c_uint32 * 2),
    )


class V4l2FrmivalStepwise(UapiStructure):
    """``struct v4l2_frmival_stepwise``."""

    _fields_ = (
        ("min", V4l2Fract),
        ("max", V4l2Fract),
        ("step", V4l2Fract),
    )


class V4l2FrmivalenumU0(UapiUnion):
    """``union v4l2_frmivalenum_u0``."""

    _fields_ = (
        ("discrete", V4l2Fract),
        ("stepwise", V4l2FrmivalStepwise),
    )


class V4l2Frmivalenum(UapiStructure):
    """``struct v4l2_frmivalenum``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("u0", V4l2FrmivalenumU0),
        ("reserved", c_uint32 * 2),
    )


class V4l2Timecode(UapiStructure):
    """``struct v4l2_timecode``."""

    _fields_ = (
        ("type", c_uint32),
        ("flags", c_uint32),
        ("frames", c_uint8),
        ("seconds", c_uint8),
        ("minutes", c_uint8),
        ("hours", c_uint8),
        ("userbits", c_uint8 * 4),
    )


class V4l2Jpegcompression(UapiStructure):
    """``struct v4l2_jpegcompression``."""

    _fields_ = (
        ("quality", c_int32),
        ("APPn", c_int32),
        ("APP_len", c_int32),
        ("APP_data", c_char * 60),
        ("COM_len", c_int32),
        ("COM_data", c_char * 60),
        ("jpeg_markers", c_uint32),
    )


class V4l2Requestbuffers(UapiStructure):
    """``struct v4l2_requestbuffers``."""

    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    )


class V4l2PlaneU0(UapiUnion):
    """``union v4l2_plane_u0``."""

    _fields_ = (
        ("mem_offset", c_uint32),
        ("userptr", c_ulong),
        ("fd", c_int32),
    )


class V4l2Plane(UapiStructure):
    """``struct v4l2_plane``."""

    _fields_ = (
        ("bytesused", c_uint32),
        ("length", c_uint32),
        ("m", V4l2PlaneU0),
        ("data_offset", c_uint32),
        ("reserved", c_uint32 * 11),
    )


class V4l2BufferU0(UapiUnion):
    """``union v4l2_buffer_u0``."""

    _fields_ = (
        ("offset", c_uint32),
        ("userptr", c_ulong),
        ("planes", c_size_t),
        ("fd", c_int32),
    )


class V4l2BufferU1(UapiUnion):
    """``union v4l2_buffer_u1``."""

    _fields_ = (
        ("request_fd", c_int32),
        ("reserved", c_uint32),
    )


class V4l2Buffer(UapiStructure):
    """``struct v4l2_buffer``."""

    _anonymous_ = ("u1",)
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("timestamp", UapiTimeval),
        ("timecode", V4l2Timecode),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("m", V4l2BufferU0),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("u1", V4l2BufferU1),
    )


class V4l2Exportbuffer(UapiStructure):
    """``struct v4l2_exportbuffer``."""

    _fields_ = (
        ("type", c_uint32),
        ("index", c_uint32),
        ("plane", c_uint32),
        ("flags", c_uint32),
        ("fd", c_int32),
        ("reserved", c_uint32 * 11),
    )


class V4l2FramebufferU0(UapiStructure):
    """``struct v4l2_framebuffer_u0``."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
    )


class V4l2Framebuffer(UapiStructure):
    """``struct v4l2_framebuffer``."""

    _fields_ = (
        ("capability", c_uint32),
        ("flags", c_uint32),
        ("base", c_size_t),
        ("fmt", V4l2FramebufferU0),
    )


class V4l2Clip(UapiStructure):
    """``struct v4l2_clip``."""

    _fields_ = (
        ("c", V4l2Rect),
        ("next", c_size_t),
    )


class V4l2Window(UapiStructure):
    """``struct v4l2_window``."""

    _fields_ = (
        ("w", V4l2Rect),
        ("field", c_uint32),
        ("chromakey", c_uint32),
        ("clips", c_size_t),
        ("clipcount", c_uint32),
        ("bitmap", c_size_t),
        ("global_alpha", c_uint8),
    )


class V4l2Captureparm(UapiStructure):
    """``struct v4l2_captureparm``."""

    _fields_ = (
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", V4l2Fract),
        ("extendedmode", c_uint32),
        ("readbuffers", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class V4l2Outputparm(UapiStructure):
    """``struct v4l2_outputparm``."""

    _fields_ = (
        ("capability", c_uint32),
        ("outputmode", c_uint32),
        ("timeperframe", V4l2Fract),
        ("extendedmode", c_uint32),
        ("writebuffers", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class V4l2Cropcap(UapiStructure):
    """``struct v4l2_cropcap``."""

    _fields_ = (
        ("type", c_uint32),
        ("bounds", V4l2Rect),
        ("defrect", V4l2Rect),
        ("pixelaspect", V4l2Fract),
    )


class V4l2Crop(UapiStructure):
    """``struct v4l2_crop``."""

    _fields_ = (
        ("type", c_uint32),
        ("c", V4l2Rect),
    )


class V4l2Selection(UapiStructure):
    """``struct v4l2_selection``."""

    _fields_ = (
        ("type", c_uint32),
        ("target", c_uint32),
        ("flags", c_uint32),
        ("r", V4l2Rect),
        ("reserved", c_uint32 * 9),
    )


class V4l2Standard(UapiStructure):
    """``struct v4l2_standard``."""

    _fields_ = (
        ("index", c_uint32),
        ("id", c_uint64),
        ("name", c_char * 24),
        ("frameperiod", V4l2Fract),
        ("framelines", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class V4l2BtTimings(UapiStructure):
    """``struct v4l2_bt_timings``."""

    _pack_ = 1
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("interlaced", c_uint32),
        ("polarities", c_uint32),
        ("pixelclock", c_uint64),
        ("hfrontporch", c_uint32),
        ("hsync", c_uint32),
        ("hbackporch", c_uint32),
        ("vfrontporch", c_uint32),
        ("vsync", c_uint32),
        ("vbackporch", c_uint32),
        ("il_vfrontporch", c_uint32),
        ("il_vsync", c_uint32),
        ("il_vbackporch", c_uint32),
        ("standards", c_uint32),
        ("flags", c_uint32),
        ("picture_aspect", V4l2Fract),
        ("cea861_vic", c_uint8),
        ("hdmi_vic", c_uint8),
        ("reserved", c_uint8 * 46),
    )


class V4l2DvTimingsU0(UapiUnion):
    """``union v4l2_dv_timings_u0``."""

    _fields_ = (
        ("bt", V4l2BtTimings),
        ("reserved", c_uint32 * 32),
    )


class V4l2DvTimings(UapiStructure):
    """``struct v4l2_dv_timings``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("type", c_uint32),
        ("u0", V4l2DvTimingsU0),
    )


class V4l2EnumDvTimings(UapiStructure):
    """``struct v4l2_enum_dv_timings``."""

    _fields_ = (
        ("index", c_uint32),
        ("pad", c_uint32),
        ("reserved", c_uint32 * 2),
        ("timings", V4l2DvTimings),
    )


class V4l2BtTimingsCap(UapiStructure):
    """``struct v4l2_bt_timings_cap``."""

    _pack_ = 1
    _fields_ = (
        ("min_width", c_uint32),
        ("max_width", c_uint32),
        ("min_height", c_uint32),
        ("max_height", c_uint32),
        ("min_pixelclock", c_uint64),
        ("max_pixelclock", c_uint64),
        ("standards", c_uint32),
        ("capabilities", c_uint32),
        ("reserved", c_uint32 * 16),
    )


class V4l2DvTimingsCapU0(UapiUnion):
    """``union v4l2_dv_timings_cap_u0``."""

    _fields_ = (
        ("bt", V4l2BtTimingsCap),
        ("raw_data", c_uint32 * 32),
    )


class V4l2DvTimingsCap(UapiStructure):
    """``struct v4l2_dv_timings_cap``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("type", c_uint32),
        ("pad", c_uint32),
        ("reserved", c_uint32 * 2),
        ("u0", V4l2DvTimingsCapU0),
    )


class V4l2Input(UapiStructure):
    """``struct v4l2_input``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("type", c_uint32),
        ("audioset", c_uint32),
        ("tuner", c_uint32),
        ("std", c_uint64),
        ("status", c_uint32),
        ("capabilities", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2Output(UapiStructure):
    """``struct v4l2_output``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("type", c_uint32),
        ("audioset", c_uint32),
        ("modulator", c_uint32),
        ("std", c_uint64),
        ("capabilities", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2Control(UapiStructure):
    """``struct v4l2_control``."""

    _fields_ = (
        ("id", c_uint32),
        ("value", c_int32),
    )


class V4l2ExtControlU0(UapiUnion):
    """``union v4l2_ext_control_u0``."""

    _fields_ = (
        ("value", c_int32),
        ("value64", c_int64),
        ("string", c_size_t),
        ("p_u8", c_size_t),
        ("p_u16", c_size_t),
        ("p_u32", c_size_t),
        ("p_area", c_size_t),
        ("p_h264_sps", c_size_t),
        ("p_h264_pps", c_size_t),
        ("p_h264_scaling_matrix", c_size_t),
        ("p_h264_pred_weights", c_size_t),
        ("p_h264_slice_params", c_size_t),
        ("p_h264_decode_params", c_size_t),
        ("p_fwht_params", c_size_t),
        ("p_vp8_frame", c_size_t),
        ("p_mpeg2_sequence", c_size_t),
        ("p_mpeg2_picture", c_size_t),
        ("p_mpeg2_quantisation", c_size_t),
        ("p_vp9_compressed_hdr_probs", c_size_t),
        ("p_vp9_frame", c_size_t),
        ("p_hevc_sps", c_size_t),
        ("p_hevc_pps", c_size_t),
        ("p_hevc_slice_params", c_size_t),
        ("p_hevc_scaling_matrix", c_size_t),
        ("p_hevc_decode_params", c_size_t),
        ("ptr", c_size_t),
    )


class V4l2ExtControl(UapiStructure):
    """``struct v4l2_ext_control``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("id", c_uint32),
        ("size", c_uint32),
        ("reserved2", c_uint32 * 1),
        ("u0", V4l2ExtControlU0),
    )


class V4l2ExtControlsU0(UapiUnion):
    """``union v4l2_ext_controls_u0``."""

    _fields_ = (
        ("ctrl_class", c_uint32),
        ("which", c_uint32),
    )


class V4l2ExtControls(UapiStructure):
    """``struct v4l2_ext_controls``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("u0", V4l2ExtControlsU0),
        ("count", c_uint32),
        ("error_idx", c_uint32),
        ("request_fd", c_int32),
        ("reserved", c_uint32 * 1),
        ("controls", c_size_t),
    )


class V4l2Queryctrl(UapiStructure):
    """``struct v4l2_queryctrl``."""

    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_char * 32),
        ("minimum", c_int32),
        ("maximum", c_int32),
        ("step", c_int32),
        ("default_value", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2QueryExtCtrl(UapiStructure):
    """``struct v4l2_query_ext_ctrl``."""

    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_char * 32),
        ("minimum", c_int64),
        ("maximum", c_int64),
        ("step", c_uint64),
        ("default_value", c_int64),
        ("flags", c_uint32),
        ("elem_size", c_uint32),
        ("elems", c_uint32),
        ("nr_of_dims", c_uint32),
        ("dims", c_uint32 * 4),
        ("reserved", c_uint32 * 32),
    )


class V4l2QuerymenuU0(UapiUnion):
    """``union v4l2_querymenu_u0``."""

    _fields_ = (
        ("name", c_char * 32),
        ("value", c_int64),
    )


class V4l2Querymenu(UapiStructure):
    """``struct v4l2_querymenu``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("id", c_uint32),
        ("index", c_uint32),
        ("u0", V4l2QuerymenuU0),
        ("reserved", c_uint32),
    )


class V4l2Tuner(UapiStructure):
    """``struct v4l2_tuner``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("type", c_uint32),
        ("capability", c_uint32),
        ("rangelow", c_uint32),
        ("rangehigh", c_uint32),
        ("rxsubchans", c_uint32),
        ("audmode", c_uint32),
        ("signal", c_int32),
        ("afc", c_int32),
        ("reserved", c_uint32 * 4),
    )


class V4l2Modulator(UapiStructure):
    """``struct v4l2_modulator``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("capability", c_uint32),
        ("rangelow", c_uint32),
        ("rangehigh", c_uint32),
        ("txsubchans", c_uint32),
        ("type", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2Frequency(UapiStructure):
    """``struct v4l2_frequency``."""

    _fields_ = (
        ("tuner", c_uint32),
        ("type", c_uint32),
        ("frequency", c_uint32),
        ("reserved", c_uint32 * 8),
    )


class V4l2FrequencyBand(UapiStructure):
    """``struct v4l2_frequency_band``."""

    _fields_ = (
        ("tuner", c_uint32),
        ("type", c_uint32),
        ("index", c_uint32),
        ("capability", c_uint32),
        ("rangelow", c_uint32),
        ("rangehigh", c_uint32),
        ("modulation", c_uint32),
        ("reserved", c_uint32 * 9),
    )


class V4l2HwFreqSeek(UapiStructure):
    """``struct v4l2_hw_freq_seek``."""

    _fields_ = (
        ("tuner", c_uint32),
        ("type", c_uint32),
        ("seek_upward", c_uint32),
        ("wrap_around", c_uint32),
        ("spacing", c_uint32),
        ("rangelow", c_uint32),
        ("rangehigh", c_uint32),
        ("reserved", c_uint32 * 5),
    )


class V4l2RdsData(UapiStructure):
    """``struct v4l2_rds_data``."""

    _pack_ = 1
    _fields_ = (
        ("lsb", c_uint8),
        ("msb", c_uint8),
        ("block", c_uint8),
    )


class V4l2Audio(UapiStructure):
    """``struct v4l2_audio``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("capability", c_uint32),
        ("mode", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2Audioout(UapiStructure):
    """``struct v4l2_audioout``."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char * 32),
        ("capability", c_uint32),
        ("mode", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2EncIdxEntry(UapiStructure):
    """``struct v4l2_enc_idx_entry``."""

    _fields_ = (
        ("offset", c_uint64),
        ("pts", c_uint64),
        ("length", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2EncIdx(UapiStructure):
    """``struct v4l2_enc_idx``."""

    _fields_ = (
        ("entries", c_uint32),
        ("entries_cap", c_uint32),
        ("reserved", c_uint32 * 4),
        ("entry", V4l2EncIdxEntry * 64),
    )


class V4l2EncoderCmdU0U0(UapiStructure):
    """``struct v4l2_encoder_cmd_u0_u0``."""

    _fields_ = (("data", c_uint32 * 8),)


class V4l2EncoderCmdU0(UapiUnion):
    """``union v4l2_encoder_cmd_u0``."""

    _fields_ = (("raw", V4l2EncoderCmdU0U0),)


class V4l2EncoderCmd(UapiStructure):
    """``struct v4l2_encoder_cmd``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("cmd", c_uint32),
        ("flags", c_uint32),
        ("u0", V4l2EncoderCmdU0),
    )


class V4l2DecoderCmdU0U0(UapiStructure):
    """``struct v4l2_decoder_cmd_u0_u0``."""

    _fields_ = (("pts", c_uint64),)


class V4l2DecoderCmdU0U1(UapiStructure):
    """``struct v4l2_decoder_cmd_u0_u1``."""

    _fields_ = (
        ("speed", c_int32),
        ("format", c_uint32),
    )


class V4l2DecoderCmdU0U2(UapiStructure):
    """``struct v4l2_decoder_cmd_u0_u2``."""

    _fields_ = (("data", c_uint32 * 16),)


class V4l2DecoderCmdU0(UapiUnion):
    """``union v4l2_decoder_cmd_u0``."""

    _fields_ = (
        ("stop", V4l2DecoderCmdU0U0),
        ("start", V4l2DecoderCmdU0U1),
        ("raw", V4l2DecoderCmdU0U2),
    )


class V4l2DecoderCmd(UapiStructure):
    """``struct v4l2_decoder_cmd``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("cmd", c_uint32),
        ("flags", c_uint32),
        ("u0", V4l2DecoderCmdU0),
    )


class V4l2VbiFormat(UapiStructure):
    """``struct v4l2_vbi_format``."""

    _fields_ = (
        ("sampling_rate", c_uint32),
        ("offset", c_uint32),
        ("samples_per_line", c_uint32),
        ("sample_format", c_uint32),
        ("start", c_int32 * 2),
        ("count", c_uint32 * 2),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2SlicedVbiFormat(UapiStructure):
    """``struct v4l2_sliced_vbi_format``."""

    _fields_ = (
        ("service_set", c_uint16),
        ("service_lines", (c_uint16 * 24) * 2),
        ("io_size", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2SlicedVbiCap(UapiStructure):
    """``struct v4l2_sliced_vbi_cap``."""

    _fields_ = (
        ("service_set", c_uint16),
        ("service_lines", (c_uint16 * 24) * 2),
        ("type", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class V4l2SlicedVbiData(UapiStructure):
    """``struct v4l2_sliced_vbi_data``."""

    _fields_ = (
        ("id", c_uint32),
        ("field", c_uint32),
        ("line", c_uint32),
        ("reserved", c_uint32),
        ("data", c_uint8 * 48),
    )


class V4l2MpegVbiItv0Line(UapiStructure):
    """``struct v4l2_mpeg_vbi_itv0_line``."""

    _pack_ = 1
    _fields_ = (
        ("id", c_uint8),
        ("data", c_uint8 * 42),
    )


class V4l2MpegVbiItv0(UapiStructure):
    """``struct v4l2_mpeg_vbi_itv0``."""

    _pack_ = 1
    _fields_ = (
        ("linemask", c_uint32 * 2),
        ("line", V4l2MpegVbiItv0Line * 35),
    )


class V4l2MpegVbiITV0(UapiStructure):
    """``struct v4l2_mpeg_vbi_ITV0``."""

    _pack_ = 1
    _fields_ = (("line", V4l2MpegVbiItv0Line * 36),)


class V4l2MpegVbiFmtIvtvU0(UapiUnion):
    """``union v4l2_mpeg_vbi_fmt_ivtv_u0``."""

    _fields_ = (
        ("itv0", V4l2MpegVbiItv0),
        ("ITV0", V4l2MpegVbiITV0),
    )


class V4l2MpegVbiFmtIvtv(UapiStructure):
    """``struct v4l2_mpeg_vbi_fmt_ivtv``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("magic", c_uint8 * 4),
        ("u0", V4l2MpegVbiFmtIvtvU0),
    )


class V4l2PlanePixFormat(UapiStructure):
    """``struct v4l2_plane_pix_format``."""

    _pack_ = 1
    _fields_ = (
        ("sizeimage", c_uint32),
        ("bytesperline", c_uint32),
        ("reserved", c_uint16 * 6),
    )


class V4l2PixFormatMplaneU0(UapiUnion):
    """``union v4l2_pix_format_mplane_u0``."""

    _fields_ = (
        ("ycbcr_enc", c_uint8),
        ("hsv_enc", c_uint8),
    )


class V4l2PixFormatMplane(UapiStructure):
    """``struct v4l2_pix_format_mplane``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("colorspace", c_uint32),
        ("plane_fmt", V4l2PlanePixFormat * 8),
        ("num_planes", c_uint8),
        ("flags", c_uint8),
        ("u0", V4l2PixFormatMplaneU0),
        ("quantization", c_uint8),
        ("xfer_func", c_uint8),
        ("reserved", c_uint8 * 7),
    )


class V4l2SdrFormat(UapiStructure):
    """``struct v4l2_sdr_format``."""

    _pack_ = 1
    _fields_ = (
        ("pixelformat", c_uint32),
        ("buffersize", c_uint32),
        ("reserved", c_uint8 * 24),
    )


class V4l2MetaFormat(UapiStructure):
    """``struct v4l2_meta_format``."""

    _pack_ = 1
    _fields_ = (
        ("dataformat", c_uint32),
        ("buffersize", c_uint32),
    )


class V4l2FormatU0(UapiUnion):
    """``union v4l2_format_u0``."""

    _fields_ = (
        ("pix", V4l2PixFormat),
        ("pix_mp", V4l2PixFormatMplane),
        ("win", V4l2Window),
        ("vbi", V4l2VbiFormat),
        ("sliced", V4l2SlicedVbiFormat),
        ("sdr", V4l2SdrFormat),
        ("meta", V4l2MetaFormat),
        ("raw_data", c_uint8 * 200),
    )


class V4l2Format(UapiStructure):
    """``struct v4l2_format``."""

    _fields_ = (
        ("type", c_uint32),
        ("fmt", V4l2FormatU0),
    )


class V4l2StreamparmU0(UapiUnion):
    """``union v4l2_streamparm_u0``."""

    _fields_ = (
        ("capture", V4l2Captureparm),
        ("output", V4l2Outputparm),
        ("raw_data", c_uint8 * 200),
    )


class V4l2Streamparm(UapiStructure):
    """``struct v4l2_streamparm``."""

    _fields_ = (
        ("type", c_uint32),
        ("parm", V4l2StreamparmU0),
    )


class V4l2EventVsync(UapiStructure):
    """``struct v4l2_event_vsync``."""

    _pack_ = 1
    _fields_ = (("field", c_uint8),)


class V4l2EventCtrlU0(UapiUnion):
    """``union v4l2_event_ctrl_u0``."""

    _fields_ = (
        ("value", c_int32),
        ("value64", c_int64),
    )


class V4l2EventCtrl(UapiStructure):
    """``struct v4l2_event_ctrl``."""

    _anonymous_ = ("u0",)
    _fields_ = (
        ("changes", c_uint32),
        ("type", c_uint32),
        ("u0", V4l2EventCtrlU0),
        ("flags", c_uint32),
        ("minimum", c_int32),
        ("maximum", c_int32),
        ("step", c_int32),
        ("default_value", c_int32),
    )


class V4l2EventFrameSync(UapiStructure):
    """``struct v4l2_event_frame_sync``."""

    _fields_ = (("frame_sequence", c_uint32),)


class V4l2EventSrcChange(UapiStructure):
    """``struct v4l2_event_src_change``."""

    _fields_ = (("changes", c_uint32),)


class V4l2EventMotionDet(UapiStructure):
    """``struct v4l2_event_motion_det``."""

    _fields_ = (
        ("flags", c_uint32),
        ("frame_sequence", c_uint32),
        ("region_mask", c_uint32),
    )


class V4l2EventU0(UapiUnion):
    """``union v4l2_event_u0``."""

    _fields_ = (
        ("vsync", V4l2EventVsync),
        ("ctrl", V4l2EventCtrl),
        ("frame_sync", V4l2EventFrameSync),
        ("src_change", V4l2EventSrcChange),
        ("motion_det", V4l2EventMotionDet),
        ("data", c_uint8 * 64),
    )


class V4l2Event(UapiStructure):
    """``struct v4l2_event``."""

    _fields_ = (
        ("type", c_uint32),
        ("u", V4l2EventU0),
        ("pending", c_uint32),
        ("sequence", c_uint32),
        ("timestamp", UapiTimespec),
        ("id", c_uint32),
        ("reserved", c_uint32 * 8),
    )


class V4l2EventSubscription(UapiStructure):
    """``struct v4l2_event_subscription``."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 5),
    )


class V4l2DbgMatchU0(UapiUnion):
    """``union v4l2_dbg_match_u0``."""

    _fields_ = (
        ("addr", c_uint32),
        ("name", c_char * 32),
    )


class V4l2DbgMatch(UapiStructure):
    """``struct v4l2_dbg_match``."""

    _pack_ = 1
    _anonymous_ = ("u0",)
    _fields_ = (
        ("type", c_uint32),
        ("u0", V4l2DbgMatchU0),
    )


class V4l2DbgRegister(UapiStructure):
    """``struct v4l2_dbg_register``."""

    _pack_ = 1
    _fields_ = (
        ("match", V4l2DbgMatch),
        ("size", c_uint32),
        ("reg", c_uint64),
        ("val", c_uint64),
    )


class V4l2DbgChipInfo(UapiStructure):
    """``struct v4l2_dbg_chip_info``."""

    _pack_ = 1
    _fields_ = (
        ("match", V4l2DbgMatch),
        ("name", c_char * 32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 32),
    )


class V4l2CreateBuffers(UapiStructure):
    """``struct v4l2_create_buffers``."""

    _fields_ = (
        ("index", c_uint32),
        ("count", c_uint32),
        ("memory", c_uint32),
        ("format", V4l2Format),
        ("capabilities", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 6),
    )


class DmaBufSync(UapiStructure):
    """``struct dma_buf_sync``."""

    _fields_ = (("flags", c_uint64),)


class DmaBufExportSyncFile(UapiStructure):
    """``struct dma_buf_export_sync_file``."""

    _fields_ = (
        ("flags", c_uint32),
        ("fd", c_int32),
    )


class DmaBufImportSyncFile(UapiStructure):
    """``struct dma_buf_import_sync_file``."""

    _fields_ = (
        ("flags", c_uint32),
        ("fd", c_int32),
    )
